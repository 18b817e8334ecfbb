"""Recognize a normalization by what it does, where its operations cannot be seen (NumPy, a custom function)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bnlint.errors import RepairError
from bnlint.model.measure import Measured
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.families import FAMILIES, family_of
from bnlint.repairs.recognize import Recipe

#: what eps may differ by from value to value, relative: float64 leaves less
SAME = 1e-6
#: the standard deviation of what a layer is given: so small that eps shows
SPREAD = 1e-2


def recognize_by_behavior(layer: nn.Module, measured: Measured) -> Recipe:
    """Find the dimensions and the eps with which one of torch's normalizations gives the very outputs of a layer.

    Args:
        layer: The layer; its parameters are called `weight` and `bias`, if it has any.
        measured: What was measured of it.

    Raises:
        RepairError: None does.
    """
    names = {name for name, _ in layer.named_parameters()}
    if names <= {"weight", "bias"}:
        for dims, centers in _candidates(len(measured.shape)):
            eps = _eps(layer, measured.shape, dims, centers)
            if eps is not None:
                family = family_of(layer, measured.shape, dims, centers=centers, real=True)
                weight, bias = (name if name in names else None for name in ("weight", "bias"))
                return Recipe(family, measured.shape, dims, eps, weight, bias)
    raise RepairError("no normalization can be seen in it, and what it does is none of torch's")


def _candidates(rank: int) -> Iterator[tuple[tuple[int, ...], bool]]:
    seen = {(dims, f.centers) for dims in _ranges(rank) for f in FAMILIES if f.takes(rank, dims)}
    yield from sorted(seen, key=lambda pair: (not pair[1], pair[0]))


def _ranges(rank: int) -> Iterator[tuple[int, ...]]:
    yield from (tuple(range(start, rank)) for start in range(1, rank))
    yield (0, *range(2, rank))


def _eps(layer: nn.Module, shape: tuple[int, ...], dims: tuple[int, ...], centers: bool) -> float | None:
    """Return what is added to the variance over these dimensions, None where no one number explains the outputs."""
    copy = disturbed(layer).train()
    like = next(iter((*copy.parameters(), *copy.buffers())), torch.empty(0))
    x = SPREAD * torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(like.device)
    with torch.no_grad():
        y = copy(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        return None
    weight, bias = (_wide(getattr(copy, name, None), shape, dims) for name in ("weight", "bias"))
    scaled = (y - bias) / weight if bias is not None and weight is not None else y if weight is None else y / weight
    shifted = x - x.mean(dims, keepdim=True) if centers else x
    for correction in (0, 1) if centers else (0,):
        spread = x.var(dims, correction=correction, keepdim=True) if centers else x.square().mean(dims, keepdim=True)
        found = ((shifted / scaled).square() - spread).flatten()
        eps = float(found.median())
        if eps > 0 and bool((found - eps).abs().max() < SAME * max(eps, float(spread.max()))):
            return float(f"{eps:.6g}")
    return None


def _wide(parameter: Tensor | None, shape: tuple[int, ...], dims: tuple[int, ...]) -> Tensor | None:
    """Shape a parameter as it is applied: per channel, or like the dimensions that are normalized."""
    if parameter is None:
        return None
    if tuple(parameter.shape) == tuple(shape[d] for d in dims):
        return parameter
    return parameter.view(1, -1, *[1] * (len(shape) - 2)) if parameter.numel() == shape[1] else parameter
