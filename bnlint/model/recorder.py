"""Records one real run of a model into an `fx.Graph`, node by node, with what autograd did at each.

Meta of every node:

=============  =====================================================================================
`frames`       tuple of `context.Frame`, innermost first; user code only, torch left out
`module`       dotted path of the innermost module being run, "" for the root
`grad`         grad mode was on
`inference`    inference mode was on
`device`       device type of the first tensor ("cpu")
`autocast`     (enabled, dtype) for that device type
`live`         the result carries a gradient; None where that means nothing (integers, numbers, None)
`shape`        of a tensor result, as is `dtype`
=============  =====================================================================================

Meta of some nodes:

`kind`, `name`
    On `get_attr` nodes: "parameter", "buffer" or "constant", and the dotted name in the model (of a constant that
    is no attribute of a module: its name in the graph module).
`escape`
    A tensor's numbers left for Python here: the method ("item", "tolist", "__float__", "numpy" ...).
`opaque`
    The inside was not recorded: "autograd.Function", "ScriptFunction", "ScriptMethod", "vmap".
`alias`
    Nobody saw this tensor being made, but it has the memory or the numbers of the node's argument (dlpack ...).
`unknown_origin`
    Nobody saw this tensor being made (another thread, a C++ extension); a constant in the graph.
`mutates`
    The node changes arguments in place. Later nodes use the changed value: the node itself if that is its result,
    else a `replay.written(value, node)` node with the frames of the change. Stores are `replay.set_item` and
    `replay.set_attribute` nodes, which return the tensor.

`.data` and its like are `getattr(tensor, name)` nodes.
"""

from __future__ import annotations

import operator
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

from bnlint.model.collectives import HOME, announced_collectives
from bnlint.model.context import context
from bnlint.model.memory import Memory, tensors_in
from bnlint.model.names import names_of, state_of
from bnlint.model.opaque import OpaqueCall, module_calls, opaque_calls
from bnlint.model.replay import node_by_node, set_attribute, set_item, written
from bnlint.model.script import Interpreter
from bnlint.model.scripted import Unsupported
from bnlint.model.shapes import shape_told

_ESCAPES = {
    "item",
    "tolist",
    "__float__",
    "__complex__",
    "numpy",
    "__array__",
    "__dlpack__",
    "untyped_storage",
    "storage",
}
_TELLING = _ESCAPES | {"register_hook"}
_PREFIX = "recorded_"
_LITERALS = {
    *(type(None), bool, int, float, complex, str, type(Ellipsis)),
    *(torch.dtype, torch.device, torch.layout, torch.memory_format),
}


@dataclass(frozen=True)
class Recording:
    """A graph, what its `get_attr` nodes name, and each module's first call (`shape_told`)."""

    graph: fx.Graph
    attributes: dict[str, Any]
    calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]]


def record(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], inputs: tuple[Tensor, ...]) -> Recording:
    """Run the model once and record it; `inputs` are the tensors in `args` and `kwargs` that become placeholders.

    The graph keeps parameters by reference, and buffers and constants as copies of their first value.
    """
    recorder = Recorder(model, sys._getframe())
    for index, tensor in enumerate(inputs):
        recorder.bind(recorder.graph.placeholder(f"input_{index}"), tensor)
    try:
        with module_calls(recorder.entered), opaque_calls(recorder.opaque), announced_collectives(), recorder:
            result = model(*args, **kwargs)
        recorder.rebound(model)
        recorder.graph.output(tuple(recorder.argument(tensor) for tensor in tensors_in(result)))
    finally:  # the frame that is kept there would keep all tensors of the run, until garbage is collected
        del recorder._base, recorder._memory
    return Recording(recorder.graph, recorder.attributes, recorder.calls)


class Recorder(TorchFunctionMode):
    """The mode that turns every call on a tensor into a node."""

    def __init__(self, model: nn.Module, base: FrameType) -> None:
        super().__init__()
        self.graph = fx.Graph()
        self.attributes: dict[str, Any] = {}
        self.calls: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {}
        self._base = base
        self._memory = Memory()
        self._thread = threading.get_ident()
        self._paused = False
        self._path = [""]
        self._paths = {id(module): name for name, module in reversed(list(model.named_modules()))}
        self._names = names_of(model)

    def bind(self, node: fx.Node, value: Any, held: Sequence[Tensor] = ()) -> None:
        """Say that `node` makes `value` out of `held`: describe it, and give each tensor in a tuple its own node."""
        node.meta = context(value, held, self._path[-1], self._base) | node.meta
        if isinstance(value, Tensor):
            self._memory.bind(value, node)
            return
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, (tuple, list)) else ()
        for key in keys:
            if tensors_in(value[key]):
                part = self.graph.call_function(operator.getitem, (node, key))
                self.bind(part, value[key], held)

    def rebound(self, model: nn.Module) -> None:
        """Mark the nodes that made what the model's own tensors were replaced with (`self.running_mean = ...`)."""
        for tensor, name, _ in state_of(model):
            node = None if id(tensor) in self._names else self._memory.node_of(tensor)
            if node is not None:
                node.meta["rebound"] = name

    @contextmanager
    def entered(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[None]:
        """Know that the calls from here on belong to `module`, and remember its first call."""
        if self._paused or threading.get_ident() != self._thread:
            yield
            return
        path = self._paths.get(id(module), self._path[-1])  # a module made on the fly belongs to its caller
        with self._at(path, (args, kwargs) if id(module) in self._paths else None), node_by_node(module):
            yield

    @contextmanager
    def _at(self, path: str, call: tuple[tuple[Any, ...], dict[str, Any]] | None) -> Iterator[None]:
        if path not in self.calls and call is not None:
            with torch._C.DisableTorchFunction():
                self.calls[path] = shape_told(tree_map_only(Tensor, Tensor.detach, call))
        self._path.append(path)
        try:
            yield
        finally:
            self._path.pop()

    def opaque(self, kind: str, call: OpaqueCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a call that cannot be looked into, as one node; TorchScript can, if all that it does is known."""
        if self._paused or threading.get_ident() != self._thread:
            return call(*args, **kwargs)
        if call.script is not None:
            try:
                interpreter = Interpreter(call.script, self._method)
            except Unsupported:
                pass
            else:
                return interpreter.run(args, kwargs)
        return self._run(call, args, kwargs, ("call_function", call, args), {"opaque": kind})

    def _method(self, owner: Any, name: str, path: str, args: tuple[Any, ...]) -> Any:
        """Run a method of a compiled module, at a path within the current one."""
        path = f"{self._path[-1]}.{path}".strip(".")
        with self._at(path, (args, {})):
            return owner._get_method(name)(*args)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one call, and record it if tensors come out of it or change in it."""
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if self._paused or name == "__delete__":
            return func(*args, **kwargs)
        if name == "__get__":
            return self._run(func, args, kwargs, ("call_function", getattr, (args[0], _property(func))))
        if name == "__set__":
            return self._run(func, args, kwargs, ("call_function", set_attribute, (args[0], _property(func), args[1])))
        if name == "__setitem__":
            return self._run(func, args, kwargs, ("call_function", set_item, args))
        if getattr(torch.Tensor, name, None) is func:
            return self._run(func, args, kwargs, ("call_method", name, args))
        return self._run(func, args, kwargs, ("call_function", func, args))

    def _run(
        self, func: Any, args: Any, kwargs: Any, node: tuple[str, Any, Any], meta: dict[str, Any] | None = None
    ) -> Any:
        op, target, node_args = node
        with torch._C.DisableTorchFunction():
            node_args, node_kwargs = self.argument(tuple(node_args)), self.argument(kwargs)
            held = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            before = [_version(tensor) for tensor in held]
        self._paused = True
        try:
            result = func(*args, **kwargs)
        finally:
            self._paused = False
        with torch._C.DisableTorchFunction():
            changed = [t for t, version in zip(held, before, strict=True) if _version(t) != version]
            if getattr(func, "__module__", None) == HOME:
                changed = held
            elif held and held[0].is_inference() and result is held[0]:
                changed = held[:1]
            stored = target in (set_item, set_attribute)
            tells = held and (result is None or target in _TELLING)
            if changed or stored or tells or tensors_in(result):
                made = self.graph.create_node(op, target, node_args, node_kwargs)
                made.meta = (meta or {}) | ({"mutates": True} if changed or stored else {})
                for tensor in changed:
                    self._memory.wrote(tensor, made)
                self.bind(made, args[0] if stored else result, held)
                if target in _ESCAPES:
                    made.meta["escape"] = target
                    self._memory.escaped(result, made)
        return result

    def argument(self, value: Any) -> Any:
        """Return what stands for `value` in the arguments of a node."""
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, (float, list, np.ndarray)) and (escape := self._memory.escape_of(value)):
            node, path = escape
            for index in path:
                meta = node.meta
                node = self.graph.call_function(operator.getitem, (node, index))
                node.meta = dict(meta)
            return node
        if type(value) in _LITERALS:
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.argument, value))
        if isinstance(value, (tuple, list)):
            return (list if isinstance(value, list) else tuple)(map(self.argument, value))
        if isinstance(value, slice):
            return slice(*map(self.argument, (value.start, value.stop, value.step)))
        if type(value) is dict:
            return {key: self.argument(item) for key, item in value.items()}
        return self._attribute(value, f"{_PREFIX}object_{len(self.attributes)}")

    def _tensor(self, tensor: Tensor) -> fx.Node:
        node = self._memory.node_of(tensor)
        if node is None:
            return self._first_use(tensor)
        writer = self._memory.writer_since(tensor)
        if writer is not None:
            node = self.graph.call_function(written, (node, writer))
            node.meta = {key: writer.meta[key] for key in ("frames", "module")}
            self.bind(node, tensor)
        if node.meta["live"] is False and tensor.requires_grad and hasattr(tensor.grad_fn, "_forward_cls"):
            # A custom function whose `apply` was looked up before the recording: its inside was recorded instead.
            node.meta |= {"live": True, "opaque": "autograd.Function"}
        return node

    def _first_use(self, tensor: Tensor) -> fx.Node:
        known = self._names.get(id(tensor))
        source = None if known or tensor.requires_grad else self._memory.alias_of(tensor)
        if source is not None:
            if "escape" in source.meta:
                node = self.graph.call_function(torch.as_tensor, (source,), {"dtype": tensor.dtype})
            else:
                node = self.graph.call_method("detach", (source,))
            node.meta = {"alias": True}
        else:
            name, kind = known[:2] if known else (f"{_PREFIX}constant_{len(self.attributes)}", "constant")
            kept = tensor if tensor.is_leaf and tensor.requires_grad else tensor.detach().clone()
            node = self._attribute(kept, name)
            node.meta = {"kind": kind, "name": name} | ({} if known else {"unknown_origin": True})
        self.bind(node, tensor)
        return node

    def _attribute(self, value: Any, name: str) -> fx.Node:
        self.attributes[name] = value
        node = self.graph.get_attr(name)
        node.meta = context(None, (), self._path[-1], self._base) | {"kind": "constant", "name": name}
        return node


def _property(func: Any) -> str:
    owner = func.__self__
    return str(getattr(owner, "fget", owner).__name__)


def _version(tensor: Tensor) -> int:
    return -1 if tensor.is_inference() else tensor._version
