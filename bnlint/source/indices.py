"""Indices: whether one takes all of a tensor or a part, and whether two take the same part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnlint.source import syntax
from bnlint.source.classes import last_name
from bnlint.source.parameters import code
from bnlint.source.values import Instance, Items, Value

#: calls that give the same each time
_STEADY = frozenset({"size", "len", "int", "min", "max", "slice", "range", "list", "tuple", "dim"})


def takes_all(node: syntax.Subscript) -> bool:
    """Whether an index leaves every value in: `:`, `0:`, `...`, `None`, `np.newaxis`."""
    return all(_is_full(element.slice) for element in node.slice)


def index_key(parts: Sequence[syntax.Node], variables: Mapping[str, Value]) -> tuple[object, ...]:
    """Return what tells one index from another: its text, and what the names in it hold."""
    held: list[object] = []
    todo: list[syntax.Node] = list(parts)
    while todo:
        current = todo.pop()
        if isinstance(current, syntax.Name) and current.value in variables:
            value = variables[current.value]
            held.append(id(value) if isinstance(value, (Items, Instance)) else value)
        elif isinstance(current, syntax.Call) and last_name(current.func) not in _STEADY:
            held.append(object())
        todo.extend(current.children)
    return (*map(code, parts), *held)


def _is_full(index: syntax.Index | syntax.Slice) -> bool:
    match index:
        case syntax.Slice(lower=None | syntax.Integer(evaluated_value=0), upper=None, step=None):
            return True
        case syntax.Index(value=syntax.Ellipsis() | syntax.Name(value="None" | "Ellipsis" | "newaxis")):
            return True
        case syntax.Index(value=syntax.Attribute(attr=syntax.Name(value="newaxis"))):
            return True
        case _:
            return False
