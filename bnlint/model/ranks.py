"""Measuring with several processes: what one rank changes, all of them feel.

Under `torchrun` the ranks measure the same layers in step. A layer whose statistics they exchange is a function of the
batches of all, and its loss is the sum of theirs; one rank's input is changed, and all losses are added up.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Return which process this is, 0 where there is but one."""
    return int(dist.get_rank()) if _several() else 0


def join() -> None:
    """Join the process group that `torchrun` announces, unless the user's code has done so."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and dist.is_available() and not dist.is_initialized():
        dist.init_process_group("gloo")


def of_first(direction: Tensor) -> Tensor:
    """Return a direction in which the first rank alone moves."""
    return torch.zeros_like(direction) if rank() else direction


def summed(value: float) -> float:
    """Add a number up over all ranks."""
    if not _several():
        return value
    device = "cuda" if dist.get_backend() == dist.Backend.NCCL else "cpu"  # NCCL sends nothing else
    total = torch.tensor(value, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return float(total)


def _several() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
