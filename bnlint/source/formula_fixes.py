"""Edits of the arithmetic of a normalization: the biased variance, eps under the root. They change forward values."""

from __future__ import annotations

import ast
import re

from bnlint.finding import Edit, Fix, SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.flow.traits import Kind, Trait
from bnlint.source.text import SourceText

_OPENS = re.compile(r"[-+*/%@,=(\[{]\s*\($|\breturn \($")
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)


def formula_fix(text: SourceText, graph: FlowGraph, trait: Trait) -> Fix | None:
    """Return the edits that make a layer compute what torch's does, None where that is no simple edit."""
    where = graph[trait.node].origin.location
    made: list[Edit] | None = None
    if where is not None and "#" not in text.at(where):
        match trait.kind:
            case Kind.UNBIASED:
                made = _biased(text, where)
            case Kind.EPS:
                made = _under_the_root(text, where)
    return None if made is None else Fix(_MESSAGES[trait.kind], False, tuple(made))


_MESSAGES = {
    Kind.UNBIASED: "divide by the biased variance, as torch's layers do",
    Kind.EPS: "add eps under the root",
}


def _biased(text: SourceText, where: SourceLocation) -> list[Edit] | None:
    """Tell a call of `var` or `std` not to correct."""
    code = text.at(where)
    call = _expression(code)
    if not isinstance(call, ast.Call) or any(isinstance(arg, ast.Starred) for arg in call.args):
        return None
    for keyword in call.keywords:
        if keyword.arg is None:
            return None
        if keyword.arg in {"unbiased", "correction"} and isinstance(keyword.value, ast.Constant):
            return [Edit(_part(text, where, keyword.value), "False" if keyword.arg == "unbiased" else "0")]
    if any(isinstance(arg, ast.Constant) and isinstance(arg.value, bool) for arg in call.args):
        return None
    given = sorted((*call.args, *(k.value for k in call.keywords)), key=lambda v: (v.end_lineno, v.end_col_offset))
    end = _part(text, where, given[-1] if given else call)
    if not given:
        place = SourceLocation(end.path, end.end_line, end.end_column - 1, end.end_line, end.end_column - 1)
        return [Edit(place, "unbiased=False")]
    place = SourceLocation(end.path, end.end_line, end.end_column, end.end_line, end.end_column)
    rest = SourceLocation(end.path, end.end_line, end.end_column, where.end_line, where.end_column)
    return [Edit(place, ", unbiased=False")] if text.at(rest).strip(" \t\r\n,") == ")" else None


def _under_the_root(text: SourceText, where: SourceLocation) -> list[Edit] | None:
    """Turn `sqrt(var) + eps` into `sqrt(var + eps)`."""
    code = text.at(where)
    match _expression(code):
        case ast.BinOp(left=root, op=ast.Add(), right=ast.Name() | ast.Attribute() | ast.Constant() as eps):
            pass
        case ast.BinOp(left=ast.Name() | ast.Attribute() | ast.Constant() as eps, op=ast.Add(), right=root):
            pass
        case _:
            return None
    match root:
        case ast.Call(func=ast.Attribute(value=ast.Name("torch"), attr="sqrt"), args=[var], keywords=[]):
            new = f"torch.sqrt({_summed(code, var, eps)})"
        case ast.Call(func=ast.Attribute(value=var, attr="sqrt"), args=[], keywords=[]):
            new = f"({_summed(code, var, eps)}).sqrt()"
        case _:
            return None
    start, end = text.span(where)
    if _OPENS.search(text.text[:start]) and text.text[end : end + 1] == ")":
        where = SourceLocation(where.path, where.line, where.column - 1, where.end_line, where.end_column + 1)
    return [Edit(where, new)]


def _summed(code: str, var: ast.expr, eps: ast.expr) -> str:
    first, second = (ast.get_source_segment(f"({code})", node) or "" for node in (var, eps))
    return f"{first} + {second}" if isinstance(var, _ATOMS) else f"({first}) + {second}"


def _expression(code: str) -> ast.expr | None:
    try:
        return ast.parse(f"({code})", mode="eval").body
    except SyntaxError:
        return None


def _part(text: SourceText, where: SourceLocation, node: ast.expr) -> SourceLocation:
    """Return where a node of the expression at a location stands in the file."""
    inside = SourceText.decode(f"({text.at(where)})".encode()).locate(node, where.path)

    def column(line: int, at: int) -> int:
        return at - 2 + where.column if line == 1 else at

    first, last = where.line + inside.line - 1, where.line + inside.end_line - 1
    return SourceLocation(
        where.path, first, column(inside.line, inside.column), last, column(inside.end_line, inside.end_column)
    )
