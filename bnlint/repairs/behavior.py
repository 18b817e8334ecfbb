"""Recognize a normalization by what it does, where its operations cannot be seen (NumPy, a custom function)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlint.errors import RepairError
from bnlint.model.measure import Measured
from bnlint.model.shapes import Call
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.families import FAMILIES, GROUP, family_of
from bnlint.repairs.recognize import Recipe, real_shape

#: what eps may differ by from value to value, relative: float64 leaves less
SAME = 1e-6
#: the standard deviation of what a layer is given: so small that eps shows
SPREAD = 1e-2


def recognize_by_behavior(layer: nn.Module, measured: Measured, call: Call | None = None) -> Recipe:
    """Find the dimensions and the eps with which one of torch's normalizations gives the very outputs of a layer.

    Args:
        layer: The layer; its parameters are called `weight` and `bias`, if it has any.
        measured: What was measured of it.
        call: The arguments of one of its calls where the model was run; they tell the size of what a layer without
            parameters normalizes.

    Raises:
        RepairError: None does.
    """
    names = {name for name, _ in layer.named_parameters()}
    if not names <= {"weight", "bias"}:
        raise RepairError("how it normalizes cannot be seen, and its parameters are not called `weight` and `bias`")
    for dims, centers, groups in _candidates(measured.shape):
        eps = _eps(layer, measured.shape, _Moments(dims, centers, groups))
        if eps is not None:
            if groups > 1 and any(parameter.dim() > 1 for parameter in layer.parameters()):
                raise RepairError("its parameters are not shaped (C,)")
            shape = real_shape(layer, measured, dims, call)
            family = GROUP if groups > 1 else family_of(layer, shape, dims, centers=centers, real=call is not None)
            weight, bias = (name if name in names else None for name in ("weight", "bias"))
            return Recipe(family, shape, dims, eps, weight, bias, groups)
    raise RepairError("how it normalizes cannot be seen, and what it gives is not what one of torch's gives")


def _candidates(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], bool, int]]:
    rank = len(shape)
    seen = {(dims, f.centers) for dims in _ranges(rank) for f in FAMILIES if f.takes(rank, dims)}
    yield from ((*pair, 1) for pair in sorted(seen, key=lambda pair: (not pair[1], pair[0])))
    if rank > 2:
        groups = (g for g in range(2, shape[1]) if shape[1] % g == 0)
        yield from ((tuple(range(1, rank)), True, g) for g in groups)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Which statistics a normalization may take."""

    dims: tuple[int, ...]
    centers: bool
    groups: int

    def of(self, x: Tensor, correction: int) -> tuple[Tensor, Tensor]:
        """Return what is left of a tensor when its mean is subtracted, and the variance of each of its values."""
        rows = x.reshape(len(x), self.groups, -1) if self.groups > 1 else x
        dims = (2,) if self.groups > 1 else self.dims
        shifted = rows - rows.mean(dims, keepdim=True) if self.centers else rows
        count = rows.numel() / rows.mean(dims).numel()
        spread = shifted.square().mean(dims, keepdim=True).expand_as(rows) * count / (count - correction)
        return shifted.reshape(x.shape), spread.reshape(x.shape)


def _ranges(rank: int) -> Iterator[tuple[int, ...]]:
    yield from (tuple(range(start, rank)) for start in range(1, rank))
    yield (0, *range(2, rank))


def _eps(layer: nn.Module, shape: tuple[int, ...], moments: _Moments) -> float | None:
    """Return what is added to the variance, None where no one number explains the outputs."""
    copy = disturbed(layer).train()
    like = next(iter((*copy.parameters(), *copy.buffers())), torch.empty(0))
    x = SPREAD * torch.randn(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(like.device)
    with torch.no_grad():
        y = copy(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        return None
    weight, bias = (_wide(getattr(copy, name, None), shape, moments.dims) for name in ("weight", "bias"))
    scaled = y if bias is None else y - bias
    scaled = scaled if weight is None else scaled / weight
    for correction in (0, 1) if moments.centers else (0,):
        shifted, spread = moments.of(x, correction)
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
