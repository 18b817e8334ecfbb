"""The input that a layer is probed with: small, of unit variance, shaped like what the layer really got."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bnlint.model.lower import floating

Call = tuple[tuple[Any, ...], dict[str, Any]]


def candidates(layer: nn.Module, call: Call | None, *, seed: int = 0, shrink: bool = True) -> Iterator[Call]:
    """Yield inputs to try, the cheapest first.

    The first floating tensor is replaced by a normal probe of mean 1/2 and variance 1 (a variance near
    eps would hide a stopped variance); all other arguments stay as the layer got them. Without a recorded call the
    shape is taken from the layer's own parameters.

    Args:
        layer: The layer, in the dtype and on the device it will be probed in.
        call: The arguments of a recorded call, or None.
        seed: Seed of the probe.
        shrink: Whether to try smaller inputs than that of the call.
    """
    like = next((p for p in (*layer.parameters(), *layer.buffers()) if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(seed)

    def probe(shape: tuple[int, ...], device: torch.device) -> Tensor:
        values = torch.randn(shape, generator=generator, dtype=torch.float64) + 0.5
        return values.to(device=device, dtype=like.dtype if like.numel() else torch.float64)

    if call is None:
        for shape in shapes_of(layer):
            yield (probe(shape, like.device),), {}
        return
    leaves, spec = tree_flatten(call)
    first = next((i for i, leaf in enumerate(leaves) if floating(leaf)), None)
    if first is None:
        return
    recorded: Tensor = leaves[first]
    dtype = like.dtype if like.numel() else torch.float64
    rest = [leaf.to(dtype) if floating(leaf) else leaf for leaf in leaves]
    size = tuple(recorded.shape)
    for shape in dict.fromkeys(shrunk(size)) if shrink else [size]:
        args, kwargs = tree_unflatten([*rest[:first], probe(shape, recorded.device), *rest[first + 1 :]], spec)
        yield args, kwargs


def shape_told(call: Call) -> Call:
    """Return a call whose first floating tensor has no numbers of its own: it tells shape, type and device.

    That is the one that a probe replaces, and the largest: those of all layers would double the memory of a step.
    """
    leaves, spec = tree_flatten(call)
    first = next((i for i, leaf in enumerate(leaves) if floating(leaf)), None)
    if first is None or leaves[first].layout is not torch.strided:
        return call
    leaves[first] = leaves[first].new_zeros(()).expand(leaves[first].shape)
    args, kwargs = tree_unflatten(leaves, spec)
    return args, kwargs


def shrunk(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield smaller shapes that a layer might take as well, then as it is.

    Batch and space are small behind the channels, as in images, or before them, as in sequences; then batch alone is.
    """
    if len(shape) > 2:
        small = [min(size, 4) for size in shape]
        yield (small[0], shape[1], *small[2:])
        yield (*small[:-1], shape[-1])
    if shape:
        yield (min(shape[0], 8), *shape[1:])
    yield shape


def channels(layer: nn.Module) -> int | None:
    """Return the number of channels that a layer's own parameters and buffers tell."""
    for name in ("num_features", "num_channels"):
        value = getattr(layer, name, None)
        if isinstance(value, int):
            return value
    sizes = {p.numel() for p in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)) if p.numel() > 1}
    return sizes.pop() if len(sizes) == 1 else None


def shapes_of(layer: nn.Module) -> list[tuple[int, ...]]:
    """Return the input shapes that a layer without recorded calls may take, by its class, then by its channel count."""
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        return [(4, 6, *layer.normalized_shape)]
    count = channels(layer)
    if count is None:
        return []
    flat, sequence, image, volume = (8, count), (4, count, 6), (4, count, 4, 4), (2, count, 4, 4, 4)
    match layer:
        case nn.BatchNorm1d():
            return [flat, sequence]
        case nn.InstanceNorm1d():
            return [sequence]
        case nn.BatchNorm3d() | nn.InstanceNorm3d():
            return [volume]
        case nn.BatchNorm2d() | nn.InstanceNorm2d() | nn.SyncBatchNorm():
            return [image]
        case _:
            return [image, (4, 6, count), flat, volume]
