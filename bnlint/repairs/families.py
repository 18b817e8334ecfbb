"""Torch's normalizations: over which dimensions each takes its statistics, and how its parameters are shaped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from bnlint.errors import RepairError
from bnlint.model.state import detached_copy

_Dims = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """One of torch's normalizations.

    Attributes:
        name: Its class, without the rank.
        takes: Whether statistics over these dimensions of an input of this rank are its own.
        centers: Whether it subtracts the mean, and may shift the result.
        per_channel: Whether its parameters are shaped (C,), and it takes inputs of any size behind the channels; else
            they are shaped like the dimensions it normalizes.
        keeps_state: Whether it may keep running statistics.
    """

    name: str
    takes: Callable[[int, _Dims], bool]
    centers: bool = True
    per_channel: bool = True
    keeps_state: bool = False


def _trailing(rank: int, dims: _Dims) -> bool:
    return bool(dims) and dims[0] > 0 and dims == tuple(range(dims[0], rank))


BATCH = Family("BatchNorm", lambda rank, dims: rank in range(2, 6) and dims == (0, *range(2, rank)), keeps_state=True)
INSTANCE = Family("InstanceNorm", lambda rank, dims: rank in range(3, 6) and dims == tuple(range(2, rank)))
#: of one group; where there are several the input is reshaped first, and only the outputs tell
GROUP = Family("GroupNorm", lambda rank, dims: rank > 2 and dims == tuple(range(1, rank)))
LAYER = Family("LayerNorm", _trailing, per_channel=False)
RMS = Family("RMSNorm", _trailing, centers=False, per_channel=False)
FAMILIES = (BATCH, INSTANCE, GROUP, LAYER, RMS)


def family_of(layer: nn.Module, shape: _Dims, dims: _Dims, *, centers: bool, real: bool) -> Family:
    """Tell which of torch's normalizations takes the statistics of a layer.

    Args:
        layer: The layer.
        shape: Shape of its input.
        dims: Dimensions of its statistics.
        centers: Whether it subtracts the mean.
        real: Whether `shape` is that of an input it really got.

    Raises:
        RepairError: None does, or more than one may.
    """
    taken = [f for f in FAMILIES if f.centers is centers and f.takes(len(shape), dims)]
    if not taken:
        usual = f", batch norm's over {[d for d in range(len(shape)) if d != 1]}" if centers else ""
        raise RepairError(f"its statistics are taken over dimensions {list(dims)}{usual}: no normalization of torch's")
    held = [f for f in taken if _holds(f, layer, shape, dims)]
    if not held:
        shapes = {True: "(C,)", False: "like the dimensions it normalizes"}
        raise RepairError(f"its parameters are not shaped {' or '.join(shapes[f.per_channel] for f in taken)}")
    told = [f for f in held if f.per_channel or _size_is_told(layer, shape, dims, real)]
    if not told:
        raise RepairError("nothing tells for which size of input it is made")
    if len(told) > 1 and any(True for _ in layer.parameters()):
        told = [f for f in told if f.per_channel is _runs_on_any_size(layer, shape, dims)]
    if len(told) > 1:
        names = " ".join(cls.__name__.lower() for cls in type(layer).__mro__)
        told = [f for f in told if f.name.lower().removesuffix("norm") in names]
    if len(told) != 1:
        raise RepairError(f"nothing tells whether it is {' or '.join(f.name for f in held)}")
    return told[0]


def parameter_shape(family: Family, shape: _Dims, dims: _Dims) -> _Dims:
    """Return the shape of weight and bias for an input of this shape."""
    return (shape[1],) if family.per_channel else tuple(shape[d] for d in dims)


def _holds(family: Family, layer: nn.Module, shape: _Dims, dims: _Dims) -> bool:
    taken = {parameter_shape(family, shape, dims)}
    if family is BATCH:
        taken |= {(*front, shape[1], *[1] * (len(shape) - 2)) for front in ((), (1,))}
    return {tuple(p.shape) for p in layer.parameters()} <= taken


def _size_is_told(layer: nn.Module, shape: _Dims, dims: _Dims, real: bool) -> bool:
    """Whether the normalized dimensions have one size: by a parameter, by torch's attribute, or as a model's width."""
    size = tuple(shape[d] for d in dims)
    given = getattr(layer, "normalized_shape", None)
    return any(True for _ in layer.parameters()) or given in (size, list(size)) or (real and len(dims) == 1)


def _runs_on_any_size(layer: nn.Module, shape: _Dims, dims: _Dims) -> bool:
    """Whether a layer with parameters takes an input whose normalized dimensions are larger."""
    like = next(layer.parameters())
    larger = tuple(size + 1 if d in dims else size for d, size in enumerate(shape))
    try:
        with torch.no_grad():
            detached_copy(layer)(like.new_zeros(larger))
    except Exception:
        return False
    return True
