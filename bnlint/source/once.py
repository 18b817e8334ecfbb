"""Branches that run once: `if not self.ready: …; self.ready = True` sets up state, and training goes on without it."""

from __future__ import annotations

from collections.abc import Iterator

from bnlint.source import syntax
from bnlint.source.syntax import below

#: in-place methods that set a flag kept as a tensor
_SETS = frozenset({"fill_", "copy_", "add_", "zero_"})


def runs_once(node: syntax.If) -> bool:
    """Whether the body of an `if` sets the attribute of `self` that its test finds not yet set."""
    name = _unset(node.test)
    return name is not None and name in set(_set_attributes(node.body))


def _unset(test: syntax.Expression) -> str | None:
    """Name the attribute that a test asks to be missing, false or zero; of several conditions, one will do."""
    match test:
        case syntax.BooleanOperation(left=left, operator="and", right=right):
            return _unset(left) or _unset(right)
        case syntax.UnaryOperation(
            operator="not", expression=syntax.Call(func=syntax.Name(value="hasattr"), args=[_, name])
        ):
            text = name.value
            return str(text.evaluated_value) if isinstance(text, syntax.SimpleString) else None
        case syntax.UnaryOperation(operator="not", expression=expression):
            return _attribute(expression)
        case syntax.Comparison(left=left, comparisons=[syntax.ComparisonTarget(operator=operator, comparator=against)]):
            match operator, against:
                case ("is", syntax.Name(value="None")) | (
                    "eq",
                    syntax.Integer(evaluated_value=0) | syntax.Name(value="False"),
                ):
                    return _attribute(left)
                case _:
                    return None
        case _:
            return None


def _attribute(node: syntax.Expression) -> str | None:
    """Name the attribute of `self` that an expression is, or is a number of (`self.done.item()`)."""
    match node:
        case syntax.Attribute(value=syntax.Name(value="self"), attr=syntax.Name(value=name)):
            return name
        case syntax.Call(func=syntax.Attribute(value=value)):
            return _attribute(value)
        case _:
            return None


def _set_attributes(node: syntax.Node) -> Iterator[str]:
    for current in below(node):
        match current:
            case syntax.AssignTarget(target=target) | syntax.AnnAssign(target=target) | syntax.AugAssign(target=target):
                if (name := _attribute(target)) is not None:
                    yield name
            case syntax.Call(func=syntax.Attribute(value=value, attr=syntax.Name(value=method))) if method in _SETS:
                while isinstance(value, syntax.Attribute) and value.attr.value == "data":
                    value = value.value
                if (name := _attribute(value)) is not None:
                    yield name
