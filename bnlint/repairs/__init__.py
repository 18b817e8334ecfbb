"""Rewrite offending layers of a live model into correct autograd normalization, each certified. Needs torch.

The package is not called `repair`: that name is the public function, `bnlint.repair`.
"""
