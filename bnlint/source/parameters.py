"""What a function's own text says of its parameters and of how it is bound."""

from __future__ import annotations

import ast

from bnlint.source import from_ast_expressions, syntax


def parameters(node: syntax.FunctionDef | syntax.Lambda) -> list[syntax.Param]:
    """Return the parameters of a function, but for those that collect the rest."""
    return [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]


def code(node: syntax.Node) -> str:
    """Return the text of a node, without its blanks."""
    if isinstance(node.place, ast.AST):
        return from_ast_expressions.code(node.place)
    from bnlint.source import from_libcst  # it imports libcst

    return from_libcst.code(node.place)  # type: ignore[arg-type]


def is_static(node: syntax.FunctionDef | syntax.Lambda) -> bool:
    """Whether a method is not bound to its object."""
    decorators = () if isinstance(node, syntax.Lambda) else node.decorators
    return any(isinstance(d.decorator, syntax.Name) and d.decorator.value == "staticmethod" for d in decorators)
