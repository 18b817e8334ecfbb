"""On which inputs a repair is proved: of several sizes, in every dimension whose size a layer does not depend on."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import count

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from bnlint.errors import RepairError
from bnlint.model.capture import plain_run
from bnlint.model.lift import Lifted
from bnlint.model.lower import floating
from bnlint.model.shapes import Call, candidates
from bnlint.model.state import detached_copy
from bnlint.operations import SizeError
from bnlint.repairs.recognize import Recipe

#: of a batch, a sequence or an image more than this shows nothing new
LARGEST = 8


@dataclass(frozen=True, slots=True)
class Samples:
    """Calls of a layer.

    Attributes:
        calls: Calls of several sizes, in float64.
        dims: The dimensions over which the first tensor is centered, None where that is not known.
        counts: Whether the counter of batches must agree as well.
    """

    calls: tuple[Call, ...]
    dims: tuple[int, ...] | None = None
    counts: bool = True

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the first floating tensor of each call."""
        return tuple(tuple(first_of(call).shape) for call in self.calls)


def first_of(call: Call) -> Tensor:
    """Return the first floating tensor of a call, which a layer is probed with."""
    found: Tensor = next(leaf for leaf in tree_leaves(call) if floating(leaf))
    return found


def samples_of(recipe: Recipe, like: Tensor, parts: int = 1) -> Samples:
    """Vary every dimension whose size a recognized layer does not depend on; batches can be cut into `parts`."""
    shapes = dict.fromkeys((parts * size[0], *size[1:]) for size in varied(recipe.shape, recipe.fixed))
    calls: tuple[Call, ...] = tuple(
        ((torch.empty(shape, dtype=torch.float64, device=like.device),), {}) for shape in shapes
    )
    return Samples(calls, recipe.dims if recipe.family.centers and recipe.groups == 1 else None, counts=False)


def samples_of_call(layer: nn.Module, built: nn.Module, call: Call) -> Samples:
    """Vary every dimension that a layer takes in another size; other tensors of the call vary along with the first.

    Sizes for which the layer that is `built` in its place says that it was not made do not count.

    Raises:
        RepairError: It takes the size of the call alone.
    """
    copy, twin = (detached_copy(each).double() for each in (layer, built))
    first = first_of(call)

    def runs(made: Call) -> bool:
        return _failure(copy, made) is None and not isinstance(_failure(twin, made), SizeError)

    size = tuple(first.shape)
    fixed = [d for d in range(len(size)) if not runs(_resized(call, _with(size, d, size[d] + 1)))]
    calls = [_resized(call, shape) for shape in dict.fromkeys(varied(size, fixed))]
    running = [made for made in calls if runs(made)]
    if len(running) < 2:
        raise RepairError("it runs on inputs of one size alone, and a repair is proved on several")
    return Samples(tuple(running))


def varied(size: tuple[int, ...], fixed: Collection[int]) -> list[tuple[int, ...]]:
    """Return three sizes: as it is, larger, and smaller."""

    def each(change: Callable[[int, int], int]) -> tuple[int, ...]:
        return tuple(known if d in fixed else change(d, min(known, LARGEST)) for d, known in enumerate(size))

    # Of one value alone torch's layers take no statistics.
    return [each(lambda _, n: n), each(lambda d, n: n + 3 + d), each(lambda _, n: max(n // 2, 2))]


def _with(size: tuple[int, ...], d: int, value: int) -> tuple[int, ...]:
    return (*size[:d], value, *size[d + 1 :])


def _resized(call: Call, shape: tuple[int, ...]) -> Call:
    """Make a call of another size: a dimension of another tensor follows that of the first which has its size."""
    old = tuple(first_of(call).shape)
    seeds = count(1)

    def resized(tensor: Tensor) -> Tensor:
        size = _following(tuple(tensor.shape), old, shape)
        if not tensor.is_floating_point():
            return tensor if tuple(tensor.shape) == size else torch.zeros(size).to(tensor)
        generator = torch.Generator().manual_seed(next(seeds))
        return (torch.randn(size, generator=generator, dtype=torch.float64) + 0.5).to(tensor.device)

    args, kwargs = tree_map_only(Tensor, resized, call)
    return args, kwargs


def _following(size: tuple[int, ...], old: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(new[d] if d < len(old) and n == old[d] else n for d, n in enumerate(size))


def _failure(layer: nn.Module, call: Call) -> Exception | None:
    """Return what a layer raises on a call in training or in eval mode, None if nothing."""
    try:
        with plain_run(), torch.no_grad(), Lifted():
            for training in (True, False):
                detached_copy(layer).train(training)(*call[0], **call[1])
    except Exception as error:
        return error
    return None


def call_of(layer: nn.Module, call: Call | None) -> Call:
    """Return a small call that a layer takes, shaped like one that it got, or as its parameters tell.

    Raises:
        RepairError: It takes none of those that were tried.
    """
    copy = detached_copy(layer).double()
    for args, kwargs in candidates(copy, call):
        if _failure(copy, (args, kwargs)) is None:
            return args, kwargs
    raise RepairError("it runs on no input that was tried")
