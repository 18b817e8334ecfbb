"""What a function's own text says of its parameters and of how it is bound."""

from __future__ import annotations

import ast
import re

from bnlint.source import from_ast_expressions, syntax

#: parameters that tell training from evaluation
TRAINING_NAMES = frozenset({"training", "is_training", "train_mode", "is_train", "bn_training"})
#: annotations of what carries no gradient
_ARRAYS = re.compile(r"\b(ndarray|NDArray|ArrayLike|DataFrame|Series)\b")


def parameters(node: syntax.FunctionDef | syntax.Lambda) -> list[syntax.Param]:
    """Return the parameters of a function, but for those that collect the rest."""
    return [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]


def may_be_tensor(parameter: syntax.Param) -> bool:
    """Whether a parameter may be given a tensor: its annotation names no array, and its default is none or a name."""
    if parameter.annotation is not None and _ARRAYS.search(code(parameter.annotation.annotation)):
        return False
    match parameter.default:
        case None:
            return True
        case syntax.Name(value=value):
            return value not in {"True", "False"}
        case _:
            return False


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
