"""Which values of a tensor a recorded node takes, and where those of each tensor stand that are put together."""

from __future__ import annotations

import math
from itertools import accumulate, pairwise
from typing import Any

from torch import fx
from torch._ops import OpOverload

from bnlint.model.calls import name_of, nodes_in

#: what takes some of the values of a tensor, by their places
INDEXED = frozenset({"__getitem__", "getitem", "narrow", "select", "index_select"})
_STACKING = frozenset({"stack"})
_CHAINING = frozenset({"cat", "concat", "concatenate"})

#: a dimension, the first place along it and the one behind the last
Places = tuple[int, int, int]


def takes_a_part(node: fx.Node) -> bool:
    """Whether an index leaves values out, or may put them elsewhere; sizes tell, where they were recorded."""
    source, *index = (*node.args, *node.kwargs.values())
    before, after = _shape(source), _shape(node)
    if before is None or after is None:
        return False
    return bool(nodes_in(tuple(index))) or math.prod(before) != math.prod(after)


def joined(node: fx.Node) -> list[Places]:
    """Return where each of the tensors stands that a node puts together; none where that cannot be told."""
    name = name_of(node)
    tensors, shape = node.args[0] if node.args else node.kwargs.get("tensors"), _shape(node)
    dim = _argument(node, 1, "dim", "axis")
    if not isinstance(tensors, (list, tuple)) or shape is None or not isinstance(dim, int):
        return []
    dim %= len(shape)
    sizes = [1 if name in _STACKING else known[dim] for each in tensors if (known := _shape(each)) is not None]
    if name not in _STACKING | _CHAINING or len(sizes) != len(tensors):
        return []
    return [(dim, start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


def divided(call: fx.Node, index: int) -> Places | None:
    """Return what one of the results of a call holds that divides a tensor; the others before it tell where it is."""
    name = name_of(call)
    shape, dim = _shape(call.args[0]), _argument(call, 1 if name == "unbind" else 2, "dim", "axis")
    if shape is None or not isinstance(dim, int):
        return None
    dim %= len(shape)
    if name == "unbind":
        return dim, index, index + 1
    sizes = {part.args[1]: known[dim] for part in call.users if (known := _shape(part)) is not None}
    if not all(place in sizes for place in range(index + 1)):
        return None
    start = sum(sizes[place] for place in range(index))
    return dim, start, start + sizes[index]


def taken(node: fx.Node) -> Places | None:
    """Return what an index holds of a tensor, where it is one stretch along one dimension."""
    name, shape = name_of(node), _shape(node.args[0]) if node.args else None
    if shape is None or isinstance(node.target, OpOverload):  # these count their arguments in another way
        return None
    if name in {"__getitem__", "getitem"}:
        return _indexed(node.args[1], shape)
    dim, start = _argument(node, 1, "dim", default=None), _argument(node, 2, "index", "start", default=None)
    length = 1 if name == "select" else _argument(node, 3, "length", default=None)
    if not (isinstance(dim, int) and isinstance(start, int) and isinstance(length, int)):
        return None
    start %= shape[dim]
    return dim % len(shape), start, start + length


def _indexed(index: object, shape: tuple[int, ...]) -> Places | None:
    parts = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    found = [(dim, part) for dim, part in enumerate(parts) if part != slice(None)]
    match found:
        case [(dim, int() as one)]:
            return dim, one % shape[dim], one % shape[dim] + 1
        case [(dim, slice(start=None | int(), stop=None | int(), step=None | 1) as stretch)]:
            start, stop, _ = stretch.indices(shape[dim])
            return dim, start, stop
        case _:
            return None


def _argument(node: fx.Node, place: int, *names: str, default: int | None = 0) -> Any:
    given = (node.kwargs[name] for name in names if name in node.kwargs)
    return next(given, node.args[place] if len(node.args) > place else default)


def _shape(value: object) -> tuple[int, ...] | None:
    return value.meta.get("shape") if isinstance(value, fx.Node) else None
