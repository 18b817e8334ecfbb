"""The static lane: source text to findings and edits, by libcst. Never imports torch."""
