"""Folders of `torch.distributed.checkpoint`: an index, and shards beside it. Needs torch."""
