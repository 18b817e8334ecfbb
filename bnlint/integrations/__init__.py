"""`bnlint.watch` for training loops that are not the user's own: one module for each library, which it imports."""
