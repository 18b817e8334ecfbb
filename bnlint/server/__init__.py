"""The language server: what `bnlint check` and `bnlint fix` say and do, while a file is being written."""
