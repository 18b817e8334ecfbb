"""The torch-free flow analysis that both front ends share: which statistic normalizes its own input, and what stops its gradient."""
