"""Indices: whether one takes all of a tensor or a part, and whether two take the same part."""

from __future__ import annotations

from collections.abc import Mapping

import libcst as cst

from bnlint.source.classes import last_name
from bnlint.source.values import Instance, Items, Value

#: calls that give the same each time
_STEADY = frozenset({"size", "len", "int", "min", "max", "slice", "range", "list", "tuple", "dim"})


def takes_all(node: cst.Subscript) -> bool:
    """Whether an index leaves every value in: `:`, `0:`, `...`, `None`, `np.newaxis`."""
    return all(_is_full(element.slice) for element in node.slice)


def index_key(node: cst.Subscript, variables: Mapping[str, Value]) -> tuple[object, ...]:
    """Return what tells one index from another: its text, and what the names in it hold."""
    held: list[object] = []
    todo: list[cst.CSTNode] = list(node.slice)
    while todo:
        current = todo.pop()
        if isinstance(current, cst.Name) and current.value in variables:
            value = variables[current.value]
            held.append(id(value) if isinstance(value, (Items, Instance)) else value)
        elif isinstance(current, cst.Call) and last_name(current.func) not in _STEADY:
            held.append(object())
        todo.extend(current.children)
    code = cst.Module(body=[]).code_for_node
    return (*(code(element.slice).strip() for element in node.slice), *held)


def _is_full(index: cst.BaseSlice) -> bool:
    match index:
        case cst.Slice(lower=None | cst.Integer(value="0"), upper=None, step=None):
            return True
        case cst.Index(value=cst.Ellipsis() | cst.Name(value="None" | "Ellipsis" | "newaxis")):
            return True
        case cst.Index(value=cst.Attribute(attr=cst.Name(value="newaxis"))):
            return True
        case _:
            return False
