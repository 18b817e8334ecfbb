"""The syntax of a file, made from its libcst tree: the names are the same, so it is a copy without the layout."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import libcst as cst

from bnlint.source import syntax
from bnlint.source.syntax import Block, Node
from bnlint.source.toplevel import defining

_OPERATORS = {
    "Add": "add",
    "Subtract": "sub",
    "Multiply": "mul",
    "Divide": "div",
    "Power": "pow",
    "MatrixMultiply": "matmul",
    "Equal": "eq",
    "NotEqual": "ne",
    "LessThan": "lt",
    "LessThanEqual": "le",
    "GreaterThan": "gt",
    "GreaterThanEqual": "ge",
    "Is": "is",
    "Minus": "minus",
    "Not": "not",
    "And": "and",
    "Or": "or",
}
_OPERATORS_OF = (cst.BaseBinaryOp, cst.BaseAugOp, cst.BaseCompOp, cst.BaseUnaryOp, cst.BaseBooleanOp)


def module(tree: cst.Module) -> syntax.Module:
    """Make the syntax of a file."""
    return syntax.Module(list(defining([_node(each) for each in _lines(tree.body)])))


def code(node: cst.CSTNode) -> str:
    """Return the text of a node, without its blanks."""
    if isinstance(node, cst.Arg):
        node = node.with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return "".join(cst.Module(body=[]).code_for_node(node).split())


def expression(tree: cst.BaseExpression) -> Any:
    """Make the syntax of an expression."""
    return _node(tree)


def _lines(body: Sequence[cst.CSTNode]) -> list[cst.CSTNode]:
    """Take the statements of lines with several of them apart."""
    parts: list[cst.CSTNode] = []
    for each in body:
        parts += each.body if isinstance(each, cst.SimpleStatementLine) else [each]
    return parts


def _node(tree: cst.CSTNode) -> Any:
    if isinstance(tree, _OPERATORS_OF):
        return _OPERATORS.get(type(tree).__name__.removesuffix("Assign"), "other")
    if isinstance(tree, cst.BaseSuite):
        return _placed(Block([_node(each) for each in _lines(tree.body)]), tree)
    name = "Try" if isinstance(tree, cst.TryStar) else type(tree).__name__
    kind = getattr(syntax, name, _other(tree))
    made = _placed(kind(*(_value(getattr(tree, part)) for part in _given(kind))), tree)  # type: ignore[arg-type]
    if isinstance(tree, cst.BaseExpression) and tree.rpar:
        made.closed = _placed(Node(), tree.rpar[-1])
    return made


def _value(value: object) -> object:
    if isinstance(value, cst.CSTNode):
        return _node(value)
    return [_node(each) for each in value] if isinstance(value, (list, tuple)) else value


def _other(tree: cst.CSTNode) -> type[Node]:
    """Return what stands for a node that the flow does not look into."""
    if isinstance(tree, cst.BaseExpression):
        return syntax.Other
    return syntax.Rest if isinstance(tree, (cst.BaseStatement, cst.BaseSmallStatement)) else Node


@functools.cache
def _given(kind: type[Node]) -> tuple[str, ...]:
    return tuple(part.name for part in fields(kind) if part.init)


def _placed(made: Any, tree: cst.CSTNode) -> Any:
    made.place = tree
    return made
