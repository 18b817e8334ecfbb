"""What a function's own text says of its parameters and of how it is bound."""

from __future__ import annotations

import libcst as cst


def parameters(node: cst.FunctionDef | cst.Lambda) -> list[cst.Param]:
    """Return the parameters of a function, but for those that collect the rest."""
    return [*node.params.posonly_params, *node.params.params, *node.params.kwonly_params]


def code(node: cst.CSTNode) -> str:
    """Return the text of a node."""
    return cst.Module(body=[]).code_for_node(node)


def is_static(node: cst.FunctionDef | cst.Lambda) -> bool:
    """Whether a method is not bound to its object."""
    decorators = () if isinstance(node, cst.Lambda) else node.decorators
    return any(isinstance(d.decorator, cst.Name) and d.decorator.value == "staticmethod" for d in decorators)
