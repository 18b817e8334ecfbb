"""What stands at the top level of a file: in the branches of blocks too, and without data."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from bnlint.source import syntax

#: longer tables at the top level of a module are data
MAX_TABLE = 50


def is_data(node: ast.stmt) -> bool:
    """Whether a statement binds a container that the flow never looks into."""
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            elements = len(value.keys) if isinstance(value, ast.Dict) else 0
            return isinstance(value, ast.List | ast.Set | ast.Tuple) or elements > MAX_TABLE
        case _:
            return False


def unfolded(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements at the top level, those in the branches of `if`, `try` and `with` included."""
    for node in body:
        match node:
            case ast.If() | ast.Try() | ast.With():
                handled = [each for handler in getattr(node, "handlers", ()) for each in handler.body]
                last = [*getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
                yield from unfolded([*node.body, *handled, *last])
            case _:
                yield node


def defining(statements: Iterable[syntax.Statement], *, inside: bool = False) -> Iterator[syntax.Statement]:
    """Yield statements, and behind each block what it defines or imports in its branches."""
    for statement in statements:
        if not inside or isinstance(statement, (syntax.FunctionDef, syntax.ClassDef, syntax.Import, syntax.ImportFrom)):
            yield statement
        match statement:
            case syntax.If(body=body, orelse=syntax.If() as orelse):
                yield from defining([*body.body, orelse], inside=True)
            case syntax.If(body=body, orelse=orelse):
                yield from defining([*body.body, *(orelse.body.body if orelse is not None else ())], inside=True)
            case syntax.With(body=body):
                yield from defining(body.body, inside=True)
            case syntax.Try(body=body, handlers=handlers, orelse=orelse, finalbody=last):
                branches = [body, *(each.body for each in handlers), *(each.body for each in (orelse, last) if each)]
                yield from defining([each for branch in branches for each in branch.body], inside=True)
