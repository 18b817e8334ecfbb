"""Whether a file gives a model with trained weights to a function."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)


def runs_on_trained(tree: ast.Module, name: str) -> bool:
    """Whether a function is called with a model whose weights were loaded before, and are not loaded again after."""
    scopes = [tree, *(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))]
    return any(_converts_trained(scope, name) for scope in scopes)


def _converts_trained(scope: ast.Module | ast.FunctionDef | ast.AsyncFunctionDef, name: str) -> bool:
    trained: set[str] = set()
    converted: set[str] = set()
    for call, target in _calls(scope.body):
        match call.func:
            case ast.Attribute(value=ast.Name(id=model), attr="load_state_dict"):
                trained.add(model)
                converted.discard(model)
            case ast.Name(id=called) | ast.Attribute(attr=called) if called == name:
                given = {arg.id for arg in call.args if isinstance(arg, ast.Name)} & trained
                converted |= {target or model for model in given}
                if target is not None:
                    trained |= {target} if given else set()
            case _ if target is not None:
                trained = trained | {target} if _loads(call) else trained - {target}
    return bool(converted)


def _loads(call: ast.Call) -> bool:
    """Whether a call returns a model with trained weights: it says so with a literal."""
    for keyword in call.keywords:
        match keyword:
            case ast.keyword(arg="pretrained", value=ast.Constant(value=True)):
                return True
            case ast.keyword(arg="weights", value=ast.Attribute() | ast.Constant(value=str())):
                return True
    return isinstance(call.func, ast.Attribute) and (
        call.func.attr == "from_pretrained" or ast.unparse(call.func) == "torch.load"
    )


def _calls(body: list[ast.stmt]) -> Iterator[tuple[ast.Call, str | None]]:
    """Yield the calls of a scope in order, with the variable that the whole value of each is assigned to."""
    todo: list[ast.AST] = list(reversed(body))
    while todo:
        node = todo.pop()
        if isinstance(node, _SCOPES):
            continue
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            (name, *more) = node.targets
            target = name.id if isinstance(name, ast.Name) and not more else None
            yield node.value, target
            todo += reversed(list(ast.iter_child_nodes(node.value)))
            continue
        if isinstance(node, ast.Call):
            yield node, None
        todo += reversed(list(ast.iter_child_nodes(node)))
