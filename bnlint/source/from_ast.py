"""The syntax of a file, made from the tree of Python's own parser; bodies of functions only when somebody asks."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from bnlint.source import syntax
from bnlint.source.syntax import Arg, Block, Else, Expression, Name, Node, Statement

#: longer tables at the top level of a module are data
MAX_TABLE = 50

Made = TypeVar("Made", bound=Node)

_BINARY: dict[type[ast.operator], str] = {
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


def module(body: Iterable[ast.stmt]) -> syntax.Module:
    """Make the syntax of a file from the statements at its top level; data is passed over."""
    return syntax.Module(_statements(each for each in body if not _is_data(each)))


def _is_data(node: ast.stmt) -> bool:
    """Whether a statement binds a container that the flow never looks into."""
    match node:
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            elements = len(value.keys) if isinstance(value, ast.Dict) else 0
            return isinstance(value, ast.List | ast.Set | ast.Tuple) or elements > MAX_TABLE
        case _:
            return False


def code(node: ast.AST) -> str:
    """Return the text of a node, without its blanks."""
    return "".join(ast.unparse(node).split())


# -- statements


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
    return syntax.FunctionDef(name, _parameters(node.args), _later(node.body), _decorators(node.decorator_list))


def _class(node: ast.ClassDef) -> Statement:
    return syntax.ClassDef(Name(node.name), [Arg(_expression(base)) for base in node.bases], _block(node.body))


def _decorators(nodes: Sequence[ast.expr]) -> list[syntax.Decorator]:
    return [_placed(syntax.Decorator(_expression(node)), node) for node in nodes]


def _if(node: ast.If) -> syntax.If:
    orelse: syntax.If | Else | None
    match node.orelse:
        case [ast.If() as chained]:  # `else: if` is no different
            orelse = _if(chained)
        case rest:
            orelse = _else(rest)
    return syntax.If(_expression(node.test), _block(node.body), orelse)


def _with(node: ast.With | ast.AsyncWith) -> Statement:
    items = [
        _placed(
            syntax.WithItem(
                _expression(item.context_expr),
                syntax.AsName(_expression(item.optional_vars)) if item.optional_vars else None,
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
    ast.For: lambda n: syntax.For(_expression(n.target), _expression(n.iter), _block(n.body), _else(n.orelse)),
    ast.AsyncFor: lambda n: syntax.For(_expression(n.target), _expression(n.iter), _block(n.body), _else(n.orelse)),
    ast.While: lambda n: syntax.While(_expression(n.test), _block(n.body), _else(n.orelse)),
    ast.With: _with,
    ast.AsyncWith: _with,
    ast.Try: _try,
    ast.TryStar: _try,
    ast.Match: lambda n: syntax.Match([syntax.MatchCase(_block(case.body)) for case in n.cases]),
    ast.Import: _import,
    ast.ImportFrom: _import_from,
    ast.Expr: lambda n: syntax.Expr(_expression(n.value)),
    ast.Assign: lambda n: syntax.Assign([syntax.AssignTarget(_expression(t)) for t in n.targets], _expression(n.value)),
    ast.AnnAssign: lambda n: syntax.AnnAssign(_expression(n.target), _maybe(n.value)),
    ast.AugAssign: lambda n: syntax.AugAssign(
        _expression(n.target), _BINARY.get(type(n.op), "other"), _expression(n.value)
    ),
    ast.Return: lambda n: syntax.Return(_maybe(n.value)),
    ast.Raise: lambda n: syntax.Raise(),
    ast.Assert: lambda n: syntax.Assert(_expression(n.test)),
}

# -- expressions


def _expression(node: ast.expr) -> Expression:
    make = _EXPRESSIONS.get(type(node))
    made = syntax.Other() if make is None else make(node)
    made.place = node
    return made


def _maybe(node: ast.expr | None) -> Expression | None:
    return None if node is None else _expression(node)


def _placed(made: Made, node: ast.AST) -> Made:
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
    return Arg(_expression(node.value), None, "*") if isinstance(node, ast.Starred) else Arg(_expression(node))


def _call(node: ast.Call) -> Expression:
    args = [_placed(_argument(each), each) for each in node.args]
    for keyword in node.keywords:
        name, star = (Name(keyword.arg), "") if keyword.arg is not None else (None, "**")
        args.append(_placed(Arg(_expression(keyword.value), name, star), keyword))
    return syntax.Call(_expression(node.func), args)


def _subscript(node: ast.Subscript) -> Expression:
    parts = node.slice.elts if isinstance(node.slice, ast.Tuple) and node.slice.elts else [node.slice]
    return syntax.Subscript(_expression(node.value), [_index(part) for part in parts])


def _index(node: ast.expr) -> syntax.SubscriptElement:
    made: syntax.Index | syntax.Slice
    if isinstance(node, ast.Slice):
        made = syntax.Slice(_maybe(node.lower), _maybe(node.upper), _maybe(node.step))
    else:
        made = syntax.Index(_expression(node.value if isinstance(node, ast.Starred) else node))
    return syntax.SubscriptElement(_placed(made, node))


def _boolean(node: ast.BoolOp) -> Expression:
    name = "and" if isinstance(node.op, ast.And) else "or"
    made = _expression(node.values[0])
    for value in node.values[1:]:
        made = _placed(syntax.BooleanOperation(made, name, _expression(value)), node)
    return made


def _comparison(node: ast.Compare) -> Expression:
    pairs = zip(node.ops, node.comparators, strict=True)
    targets = [syntax.ComparisonTarget(_COMPARISONS.get(type(op), "other"), _expression(value)) for op, value in pairs]
    return syntax.Comparison(_expression(node.left), targets)


def _elements(nodes: Sequence[ast.expr]) -> list[syntax.Element | syntax.StarredElement]:
    made = (_expression(node) for node in nodes)
    return [each if isinstance(each, syntax.StarredElement) else syntax.Element(each) for each in made]


def _dict(node: ast.Dict) -> Expression:
    pairs = zip(node.keys, node.values, strict=True)
    return syntax.Dict(
        [
            syntax.StarredDictElement(_expression(value))
            if key is None
            else syntax.DictElement(_expression(key), _expression(value))
            for key, value in pairs
        ]
    )


def _loops(loops: Sequence[ast.comprehension]) -> syntax.CompFor:
    first, *rest = loops
    conditions = [_expression(each) for each in first.ifs]
    return syntax.CompFor(
        _expression(first.target), _expression(first.iter), conditions, _loops(rest) if rest else None
    )


def _lambda(node: ast.Lambda) -> Expression:
    return syntax.Lambda(_parameters(node.args), _expression(node.body))


def _parameters(node: ast.arguments) -> syntax.Parameters:
    positional = [*node.posonlyargs, *node.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(node.defaults))
    made = [_parameter(arg, default) for arg, default in zip(positional, [*defaults, *node.defaults], strict=True)]
    count = len(node.posonlyargs)
    keywords = [_parameter(arg, default) for arg, default in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    star = None if node.vararg is None else _parameter(node.vararg)
    rest = None if node.kwarg is None else _parameter(node.kwarg)
    return syntax.Parameters(made[count:], made[:count], keywords, star, rest)


def _parameter(node: ast.arg, default: ast.expr | None = None) -> syntax.Param:
    annotation = None if node.annotation is None else syntax.Annotation(_expression(node.annotation))
    return syntax.Param(_placed(Name(node.arg), node), annotation, _maybe(default))


_EXPRESSIONS: dict[type[ast.expr], Callable[[Any], Expression]] = {
    ast.Name: lambda n: Name(n.id),
    ast.Constant: _constant,
    ast.Attribute: lambda n: syntax.Attribute(_expression(n.value), Name(n.attr)),
    ast.Call: _call,
    ast.Subscript: _subscript,
    ast.BinOp: lambda n: syntax.BinaryOperation(
        _expression(n.left), _BINARY.get(type(n.op), "other"), _expression(n.right)
    ),
    ast.UnaryOp: lambda n: syntax.UnaryOperation(_UNARY.get(type(n.op), "other"), _expression(n.operand)),
    ast.BoolOp: _boolean,
    ast.Compare: _comparison,
    ast.IfExp: lambda n: syntax.IfExp(_expression(n.test), _expression(n.body), _expression(n.orelse)),
    ast.NamedExpr: lambda n: syntax.NamedExpr(_expression(n.target), _expression(n.value)),
    ast.Tuple: lambda n: syntax.Tuple(_elements(n.elts)),
    ast.List: lambda n: syntax.List(_elements(n.elts)),
    ast.Set: lambda n: syntax.Set(_elements(n.elts)),
    ast.Starred: lambda n: syntax.StarredElement(_expression(n.value)),
    ast.Dict: _dict,
    ast.Lambda: _lambda,
    ast.ListComp: lambda n: syntax.ListComp(_expression(n.elt), _loops(n.generators)),
    ast.SetComp: lambda n: syntax.SetComp(_expression(n.elt), _loops(n.generators)),
    ast.GeneratorExp: lambda n: syntax.GeneratorExp(_expression(n.elt), _loops(n.generators)),
    ast.DictComp: lambda n: syntax.DictComp(_expression(n.key), _expression(n.value), _loops(n.generators)),
    ast.Await: lambda n: syntax.Await(_expression(n.value)),
    ast.Yield: lambda n: syntax.Yield(_maybe(n.value)),
    ast.YieldFrom: lambda n: syntax.Yield(syntax.From(_expression(n.value))),
}
