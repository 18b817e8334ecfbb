"""Runs TorchScript operation by operation, so that a recorder sees into it: the stops, and the lines they stand at.

A compiled method is a graph in torch's IR. It is run here as the IR says, branches and loops included, on real tensors.
Only operators of torch itself are run, and none that touches a file. What cannot be run like this stays one opaque
call.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch

from bnlint.model.scripted import METHOD, OPERATIONS, VALUES, inlined, operator_of, require_known
from bnlint.model.told import Place, line_frame, telling

_KNOWN = {"prim::Constant", "prim::GetAttr", "prim::SetAttr", "prim::If", "prim::Loop", METHOD, *VALUES}
_PLACE = re.compile(r"# (?P<path>[^\n]+?):(?P<line>\d+):\d+$")


#: runs a method of a module: `call(module, method, path, arguments)`, the path within the module that is run
Call = Callable[[Any, str, str, tuple[Any, ...]], Any]


class Interpreter:
    """Runs a compiled method or function.

    Args:
        script: The method or function.
        call: Runs the methods that it calls.

    Raises:
        Unsupported: It does something that cannot be run one by one.
    """

    def __init__(self, script: Any, call: Call) -> None:
        self._own = (script.owner,) if isinstance(script, torch._C.ScriptMethod) else ()
        self._schema = script.schema
        self._graph = inlined(script.graph)
        self._call = call
        self._operations: dict[str, Callable[..., Any]] = {}
        for block in _blocks(self._graph):
            for node in block.nodes():
                require_known(node)
                if node.kind() not in _KNOWN:
                    self._operations[_key(node)] = OPERATIONS.get(node.kind()) or operator_of(node)

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run it on arguments."""
        inputs = [v.debugName() for v in self._graph.inputs()]
        given = [*self._own, *_bound(self._schema, args, kwargs, skip=len(self._own))]
        (result,) = self._block(self._graph, dict(zip(inputs, given, strict=True)), {})
        return result

    def _block(self, block: Any, values: dict[str, Any], paths: dict[str, str]) -> list[Any]:
        for node in block.nodes():
            results = self._node(node, values, paths)
            for output, result in zip(node.outputs(), results, strict=True):
                values[output.debugName()] = result
        return [values[v.debugName()] for v in block.outputs()]

    def _node(self, node: Any, values: dict[str, Any], paths: dict[str, str]) -> list[Any]:
        kind = node.kind()
        args = [values[v.debugName()] for v in node.inputs()]
        match kind:
            case "prim::Constant":
                return [node.output().toIValue()]
            case "prim::GetAttr":
                name, source = node.s("name"), next(node.inputs()).debugName()
                paths[node.output().debugName()] = f"{paths.get(source, '')}.{name}".lstrip(".")
                return [args[0].getattr(name)]
            case "prim::SetAttr":
                args[0].setattr(node.s("name"), args[1])
                return []
            case "prim::If":
                chosen = list(node.blocks())[0 if args[0] else 1]
                return self._block(chosen, values, paths)
            case "prim::Loop":
                return self._loop(node, args, values, paths)
            case _ if kind == METHOD and isinstance(args[0], torch._C.ScriptModule):
                path = paths.get(next(node.inputs()).debugName(), "")
                return _results(node, self._call(args[0], node.s("name"), path, tuple(args[1:])))
            case _ if kind == METHOD:
                return _results(node, getattr(args[0], node.s("name"))(*args[1:]))
            case _ if kind in VALUES:
                return VALUES[kind](args, node)
        with telling(self._place(node)):
            return _results(node, self._operations[_key(node)](*args))

    def _loop(self, node: Any, args: list[Any], values: dict[str, Any], paths: dict[str, str]) -> list[Any]:
        (body,) = node.blocks()
        names = [v.debugName() for v in body.inputs()]
        most, going, carried = args[0], args[1], args[2:]
        count = 0
        while going and count < most:
            values.update(zip(names, [count, *carried], strict=True))
            going, *carried = self._block(body, values, paths)
            count += 1
        return carried

    @staticmethod
    def _place(node: Any) -> Place:
        found = _PLACE.search(str(node).splitlines()[0])
        frames = (line_frame(found["path"], int(found["line"]), "forward"),) if found else ()
        return Place(frames)


def _bound(schema: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, skip: int = 0) -> list[Any]:
    """Return the arguments of a call in the order of a schema, defaults filled in."""
    values = [*args]
    for argument in schema.arguments[skip + len(args) :]:
        values.append(kwargs.get(argument.name, argument.default_value))
    return values


def _blocks(block: Any) -> Iterable[Any]:
    yield block
    for node in block.nodes():
        for inner in node.blocks():
            yield from _blocks(inner)


def _key(node: Any) -> str:
    return f"{node.kind()} {node.schema()}"


def _results(node: Any, result: Any) -> list[Any]:
    count = node.outputsSize()
    if count == 1:
        return [result]
    return list(result) if count else []
