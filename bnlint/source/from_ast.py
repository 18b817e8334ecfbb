"""The syntax of a file, made from the tree of Python's own parser; bodies of functions only when somebody asks."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from bnlint.source import syntax
from bnlint.source.from_ast_expressions import BINARY, expression, maybe, parameters, placed
from bnlint.source.syntax import Arg, Block, Else, Expression, Name, Statement
from bnlint.source.toplevel import defining, is_data


def module(body: Iterable[ast.stmt]) -> syntax.Module:
    """Make the syntax of a file from the statements at its top level; data is passed over."""
    return syntax.Module(list(defining(_statements(each for each in body if not is_data(each)))))


def _statements(body: Iterable[ast.stmt]) -> Sequence[Statement]:
    return [_statement(each) for each in body]


def _statement(node: ast.stmt) -> Statement:
    make = _STATEMENTS.get(type(node))
    made = syntax.Rest() if make is None else make(node)
    made.place = node
    return made


def _block(body: Sequence[ast.stmt]) -> Block:
    return Block(_statements(body))


def _later(body: Sequence[ast.stmt]) -> Block:
    return Block(functools.partial(_statements, body))


def _else(body: Sequence[ast.stmt]) -> Else | None:
    return Else(_block(body)) if body else None


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Statement:
    name = Name(node.name)
    name.place = node
    return syntax.FunctionDef(name, parameters(node.args), _later(node.body), _decorators(node.decorator_list))


def _class(node: ast.ClassDef) -> Statement:
    return syntax.ClassDef(Name(node.name), [Arg(expression(base)) for base in node.bases], _block(node.body))


def _decorators(nodes: Sequence[ast.expr]) -> list[syntax.Decorator]:
    return [placed(syntax.Decorator(expression(node)), node) for node in nodes]


def _if(node: ast.If) -> syntax.If:
    orelse: syntax.If | Else | None
    match node.orelse:
        case [ast.If() as chained]:  # `else: if` is no different
            orelse = _if(chained)
        case rest:
            orelse = _else(rest)
    return syntax.If(expression(node.test), _block(node.body), orelse)


def _with(node: ast.With | ast.AsyncWith) -> Statement:
    items = [
        placed(
            syntax.WithItem(
                expression(item.context_expr),
                syntax.AsName(expression(item.optional_vars)) if item.optional_vars else None,
            ),
            item,
        )
        for item in node.items
    ]
    return syntax.With(items, _block(node.body))


def _try(node: Any) -> Statement:
    return syntax.Try(
        _block(node.body),
        [syntax.ExceptHandler(_block(handler.body)) for handler in node.handlers],
        _else(node.orelse),
        syntax.Finally(_block(node.finalbody)) if node.finalbody else None,
    )


def _import(node: ast.Import) -> Statement:
    return syntax.Import(_aliases(node.names))


def _import_from(node: ast.ImportFrom) -> Statement:
    names = syntax.ImportStar() if node.names[0].name == "*" else _aliases(node.names)
    source = None if node.module is None else _dotted(node.module)
    return syntax.ImportFrom(source, names, [syntax.Dot() for _ in range(node.level)])


def _aliases(names: Sequence[ast.alias]) -> list[syntax.ImportAlias]:
    return [
        syntax.ImportAlias(_dotted(each.name), syntax.AsName(Name(each.asname)) if each.asname else None)
        for each in names
    ]


def _dotted(path: str) -> Expression:
    head, *rest = path.split(".")
    made: Expression = Name(head)
    for name in rest:
        made = syntax.Attribute(made, Name(name))
    return made


_STATEMENTS: dict[type[ast.stmt], Callable[[Any], Statement]] = {
    ast.FunctionDef: _function,
    ast.AsyncFunctionDef: _function,
    ast.ClassDef: _class,
    ast.If: _if,
    ast.For: lambda n: syntax.For(expression(n.target), expression(n.iter), _block(n.body), _else(n.orelse)),
    ast.AsyncFor: lambda n: syntax.For(expression(n.target), expression(n.iter), _block(n.body), _else(n.orelse)),
    ast.While: lambda n: syntax.While(expression(n.test), _block(n.body), _else(n.orelse)),
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.Match: lambda n: syntax.Match([syntax.MatchCase(_block(case.body)) for case in n.cases]),
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Expr: lambda n: syntax.Expr(expression(n.value)),
    ast.Assign: lambda n: syntax.Assign([syntax.AssignTarget(expression(t)) for t in n.targets], expression(n.value)),
    ast.AnnAssign: lambda n: syntax.AnnAssign(expression(n.target), maybe(n.value)),
    ast.AugAssign: lambda n: syntax.AugAssign(
        expression(n.target), BINARY.get(type(n.op), "other"), expression(n.value)
    ),
    ast.Return: lambda n: syntax.Return(maybe(n.value)),
    ast.Raise: lambda n: syntax.Raise(),
    ast.Assert: lambda n: syntax.Assert(expression(n.test)),
}
