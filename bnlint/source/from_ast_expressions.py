"""The syntax of expressions, made from the tree of Python's own parser."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from bnlint.source import syntax
from bnlint.source.syntax import Arg, Expression, Name, Node

Made = TypeVar("Made", bound=Node)

BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.MatMult: "matmul",
}
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "eq",
    ast.NotEq: "ne",
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Is: "is",
}
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "minus", ast.Not: "not"}


def code(node: ast.AST) -> str:
    """Return the text of a node, without its blanks."""
    return "".join(ast.unparse(node).split())


def expression(node: ast.expr) -> Expression:
    """Make the syntax of an expression."""
    make = _EXPRESSIONS.get(type(node))
    made = syntax.Other() if make is None else make(node)
    made.place = node
    return made


def maybe(node: ast.expr | None) -> Expression | None:
    """Make the syntax of an expression that may be absent."""
    return None if node is None else expression(node)


def placed(made: Made, node: ast.AST) -> Made:
    """Say what a node was made from."""
    made.place = node
    return made


def _constant(node: ast.Constant) -> Expression:
    match node.value:
        case None | True | False as value:
            return Name(repr(value))
        case int() as value:
            return syntax.Integer(value)
        case float() as value:
            return syntax.Float(value)
        case str() | bytes() as value:
            return syntax.SimpleString(value)
        case value if value is ...:
            return syntax.Ellipsis()
        case _:
            return syntax.Other()


def _argument(node: ast.expr) -> Arg:
    return Arg(expression(node.value), None, "*") if isinstance(node, ast.Starred) else Arg(expression(node))


def _call(node: ast.Call) -> Expression:
    args = [placed(_argument(each), each) for each in node.args]
    for keyword in node.keywords:
        name, star = (Name(keyword.arg), "") if keyword.arg is not None else (None, "**")
        args.append(placed(Arg(expression(keyword.value), name, star), keyword))
    return syntax.Call(expression(node.func), args)


def _subscript(node: ast.Subscript) -> Expression:
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) and node.slice.elts else [node.slice]
    return syntax.Subscript(expression(node.value), [_index(part) for part in parts])


def _index(node: ast.expr) -> syntax.SubscriptElement:
    made: syntax.Index | syntax.Slice
    if isinstance(node, ast.Slice):
        made = syntax.Slice(maybe(node.lower), maybe(node.upper), maybe(node.step))
    else:
        made = syntax.Index(expression(node.value if isinstance(node, ast.Starred) else node))
    return syntax.SubscriptElement(placed(made, node))


def _boolean(node: ast.BoolOp) -> Expression:
    name = "and" if isinstance(node.op, ast.And) else "or"
    made = expression(node.values[0])
    for value in node.values[1:]:
        made = placed(syntax.BooleanOperation(made, name, expression(value)), node)
    return made


def _comparison(node: ast.Compare) -> Expression:
    pairs = zip(node.ops, node.comparators, strict=True)
    targets = [syntax.ComparisonTarget(_COMPARISONS.get(type(op), "other"), expression(value)) for op, value in pairs]
    return syntax.Comparison(expression(node.left), targets)


def _elements(nodes: Sequence[ast.expr]) -> list[syntax.Element | syntax.StarredElement]:
    made = (expression(node) for node in nodes)
    return [each if isinstance(each, syntax.StarredElement) else syntax.Element(each) for each in made]


def _dict(node: ast.Dict) -> Expression:
    pairs = zip(node.keys, node.values, strict=True)
    return syntax.Dict(
        [
            syntax.StarredDictElement(expression(value))
            if key is None
            else syntax.DictElement(expression(key), expression(value))
            for key, value in pairs
        ]
    )


def _loops(loops: Sequence[ast.comprehension]) -> syntax.CompFor:
    first, *rest = loops
    conditions = [expression(each) for each in first.ifs]
    return syntax.CompFor(expression(first.target), expression(first.iter), conditions, _loops(rest) if rest else None)


def _lambda(node: ast.Lambda) -> Expression:
    return syntax.Lambda(parameters(node.args), expression(node.body))


def parameters(node: ast.arguments) -> syntax.Parameters:
    """Make the syntax of the parameters of a function."""
    positional = [*node.posonlyargs, *node.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.defaults))
    made = [_parameter(arg, default) for arg, default in zip(positional, [*defaults, *node.defaults], strict=True)]
    count = len(node.posonlyargs)
    keywords = [_parameter(arg, default) for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    star = None if node.vararg is None else _parameter(node.vararg)
    rest = None if node.kwarg is None else _parameter(node.kwarg)
    return syntax.Parameters(made[count:], made[:count], keywords, star, rest)


def _parameter(node: ast.arg, default: ast.expr | None = None) -> syntax.Param:
    annotation = None if node.annotation is None else syntax.Annotation(expression(node.annotation))
    return syntax.Param(placed(Name(node.arg), node), annotation, maybe(default))


_EXPRESSIONS: dict[type[ast.expr], Callable[[Any], Expression]] = {
    ast.Name: lambda n: Name(n.id),
    ast.Constant: _constant,
    ast.Attribute: lambda n: syntax.Attribute(expression(n.value), Name(n.attr)),
    ast.Call: _call,
    ast.Subscript: _subscript,
    ast.BinOp: lambda n: syntax.BinaryOperation(
        expression(n.left), BINARY.get(type(n.op), "other"), expression(n.right)
    ),
    ast.UnaryOp: lambda n: syntax.UnaryOperation(_UNARY.get(type(n.op), "other"), expression(n.operand)),
    ast.BoolOp: _boolean,
    ast.Compare: _comparison,
    ast.IfExp: lambda n: syntax.IfExp(expression(n.test), expression(n.body), expression(n.orelse)),
    ast.NamedExpr: lambda n: syntax.NamedExpr(expression(n.target), expression(n.value)),
    ast.Tuple: lambda n: syntax.Tuple(_elements(n.elts)),
    ast.List: lambda n: syntax.List(_elements(n.elts)),
    ast.Set: lambda n: syntax.Set(_elements(n.elts)),
    ast.Starred: lambda n: syntax.StarredElement(expression(n.value)),
    ast.Dict: _dict,
    ast.Lambda: _lambda,
    ast.ListComp: lambda n: syntax.ListComp(expression(n.elt), _loops(n.generators)),
    ast.SetComp: lambda n: syntax.SetComp(expression(n.elt), _loops(n.generators)),
    ast.GeneratorExp: lambda n: syntax.GeneratorExp(expression(n.elt), _loops(n.generators)),
    ast.DictComp: lambda n: syntax.DictComp(expression(n.key), expression(n.value), _loops(n.generators)),
    ast.Await: lambda n: syntax.Await(expression(n.value)),
    ast.Yield: lambda n: syntax.Yield(maybe(n.value)),
    ast.YieldFrom: lambda n: syntax.Yield(syntax.From(expression(n.value))),
}
