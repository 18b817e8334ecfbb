"""Branches that run once: `if not self.ready: …; self.ready = True` sets up state, and training goes on without it."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from bnlint.source.below import below

#: in-place methods that set a flag kept as a tensor
_SETS = frozenset({"fill_", "copy_", "add_", "zero_"})


def runs_once(node: cst.If) -> bool:
    """Whether the body of an `if` sets the attribute of `self` that its test finds not yet set."""
    name = _unset(node.test)
    return name is not None and name in set(_set_attributes(node.body))


def _unset(test: cst.BaseExpression) -> str | None:
    """Name the attribute that a test asks to be missing, false or zero; of several conditions, one will do."""
    match test:
        case cst.BooleanOperation(left=left, operator=cst.And(), right=right):
            return _unset(left) or _unset(right)
        case cst.UnaryOperation(
            operator=cst.Not(), expression=cst.Call(func=cst.Name(value="hasattr"), args=[_, name])
        ):
            text = name.value
            return str(text.evaluated_value) if isinstance(text, cst.SimpleString) else None
        case cst.UnaryOperation(operator=cst.Not(), expression=expression):
            return _attribute(expression)
        case cst.Comparison(left=left, comparisons=[cst.ComparisonTarget(operator=operator, comparator=against)]):
            match operator, against:
                case (cst.Is(), cst.Name(value="None")) | (
                    cst.Equal(),
                    cst.Integer(value="0") | cst.Name(value="False"),
                ):
                    return _attribute(left)
                case _:
                    return None
        case _:
            return None


def _attribute(node: cst.BaseExpression) -> str | None:
    """Name the attribute of `self` that an expression is, or is a number of (`self.done.item()`)."""
    match node:
        case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
            return name
        case cst.Call(func=cst.Attribute(value=value)):
            return _attribute(value)
        case _:
            return None


def _set_attributes(node: cst.CSTNode) -> Iterator[str]:
    for current in below(node):
        match current:
            case cst.AssignTarget(target=target) | cst.AnnAssign(target=target) | cst.AugAssign(target=target):
                if (name := _attribute(target)) is not None:
                    yield name
            case cst.Call(func=cst.Attribute(value=value, attr=cst.Name(value=method))) if method in _SETS:
                while isinstance(value, cst.Attribute) and value.attr.value == "data":
                    value = value.value
                if (name := _attribute(value)) is not None:
                    yield name
