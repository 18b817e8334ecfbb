"""The static lane: source text to findings, by Python's own parser, and to edits, by libcst. Never imports torch."""
