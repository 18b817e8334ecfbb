"""Layers that exchange statistics need a process group: the pages about them get one of a single process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist


@pytest.fixture
def one_process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Start a process group of one for the blocks of BN105."""
    values = getattr(request.node, "callspec", None)
    if values is None or not any(str(value).startswith("BN105") for value in values.params.values()):
        yield
        return
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
