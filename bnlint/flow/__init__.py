"""The torch-free flow analysis of both front ends: what normalizes its own input, and what stops its gradient."""
