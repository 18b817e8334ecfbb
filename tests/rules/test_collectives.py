"""BN105 over two real processes: the gradient that one process cannot measure."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from blocks import CHANNELS, batch, example, layer_of
from torch import Tensor, multiprocessing

from bnlint.model.check import check_model

RANKS = 2
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="torch was built without gloo")


def cotangent() -> Tensor:
    return torch.randn(4, CHANNELS, 4, 4, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def share(rank: int, codes: list[str], folder: str) -> None:
    """One process of two: half of the batch, and what each layer gives for it, output and gradient."""
    torch.set_num_threads(1)
    file = f"file://{folder}/store"
    dist.init_process_group("gloo", init_method=file, rank=rank, world_size=RANKS, timeout=timedelta(seconds=60))
    own = Path(folder) / str(rank)
    own.mkdir()
    found: list[tuple[Tensor, Tensor]] = []
    for code in codes:
        x = batch().chunk(RANKS)[rank].clone().requires_grad_()
        y = layer_of(code, own).double()(x)
        (gradient,) = torch.autograd.grad((y * cotangent().chunk(RANKS)[rank]).sum(), x)
        found.append((y.detach(), gradient))
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_measure_what_one_cannot(tmp_path: Path) -> None:
    codes = [example("BN105", section, 0).code for section in ("Bad", "Fixed")]
    x = batch().requires_grad_()
    # The truth: one process that has the whole batch.
    truth = layer_of(codes[0], tmp_path).double()(x)
    (gradient,) = torch.autograd.grad((truth * cotangent()).sum(), x)

    multiprocessing.spawn(share, (codes, str(tmp_path)), nprocs=RANKS)  # type: ignore[attr-defined]
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]

    errors: list[float] = []
    for parts in zip(*halves, strict=True):
        torch.testing.assert_close(torch.cat([y for y, _ in parts]), truth.detach(), rtol=1e-9, atol=1e-12)
        errors.append(float((torch.cat([g for _, g in parts]) - gradient).norm() / gradient.norm()))
    bad, fixed = errors
    assert fixed < 1e-9
    assert bad > 0.05, errors


def test_a_collective_that_does_not_run_is_not_seen_in_the_recorded_step(tmp_path: Path) -> None:
    assert not dist.is_initialized()
    assert check_model(layer_of(example("BN105", "Bad", 0).code, tmp_path)) == []
