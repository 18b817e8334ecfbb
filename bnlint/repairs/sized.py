"""Records a layer so that the sizes of its input stay open: numbers made of sizes are nodes of the graph as well."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import torch
import torch.distributed as dist
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_leaves

from bnlint.model.collectives import HOME, announced_collectives, imported
from bnlint.model.context import context
from bnlint.model.memory import tensors_in
from bnlint.model.opaque import OpaqueCall, module_calls, opaque_calls, patched
from bnlint.model.recorder import Recorder, Recording
from bnlint.operations import expect, world_size

_ARITHMETIC = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
_READ_OUT = {"item", "tolist"}


@dataclass(frozen=True)
class SizedRecording(Recording):
    """A recording, what the layer returned, and whether it got sizes as plain numbers, whose way nobody follows."""

    result: Any
    told: bool


def record_sized(
    layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], tell: Callable[[int], int] = operator.pos
) -> tuple[SizedRecording, int]:
    """Run a layer once and record it; the tensors in `args` and `kwargs` become placeholders.

    The graph holds for every input on which its comparisons of sizes come out as they did here: `operations.expect`
    nodes say so. Where it wants a plain number (`len(x)`, `float(x.size(0))`, `int`), it is told what `tell` makes of
    it. Also says how many custom functions were looked into: the backward of those is not in the graph.
    """
    recorder = _SizedRecorder(layer, sys._getframe())
    recorder.tell = tell
    for index, tensor in enumerate(tensors_in((args, kwargs))):
        recorder.bind(recorder.graph.placeholder(f"input_{index}"), tensor)
    with ExitStack() as patches:
        patches.enter_context(module_calls(recorder.entered))
        patches.enter_context(opaque_calls(recorder.opaque))
        patches.enter_context(announced_collectives())
        if dist.is_available() and dist.is_initialized():
            for module, name, _ in imported([dist.get_world_size]):
                if module.__name__ != HOME:  # which asks itself
                    patches.enter_context(patched(module, name, recorder.processes))
        patches.enter_context(recorder)
        result = layer(*args, **kwargs)
    recorder.rebound(layer)
    recorder.graph.output(tuple(recorder.argument(leaf) for leaf in tree_leaves(result) if is_made(leaf)))
    recorder.done = True
    del recorder._base, recorder._memory  # as in `record`: the frame kept there keeps all tensors of the run
    for node in reversed(recorder.graph.nodes):
        if "number" in node.meta and not node.users and node.target is not expect:
            recorder.graph.erase_node(node)
    return SizedRecording(recorder.graph, recorder.attributes, recorder.calls, result, recorder.told), recorder.opened


def is_made(leaf: object) -> bool:
    """Whether a part of a result comes out of the graph: a tensor, or a number made of sizes."""
    return isinstance(leaf, (Tensor, Size, Number))


class _SizedRecorder(Recorder):
    """Follows numbers that come from sizes, or out of tensors, through Python's arithmetic."""

    done = False
    told = False
    opened = 0
    tell: Callable[[int], int]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs)
        name = getattr(func, "__name__", "")
        if self._paused or self.done:
            return result
        with torch._C.DisableTorchFunction():
            if name in {"size", "numel", "nelement"} or isinstance(result, torch.Size):
                return self._of_size(args[0], result, args[1:], kwargs or {})
            if name == "__len__":
                return self.told_size(result)
            if name in _READ_OUT and isinstance(result, (int, float)) and not isinstance(result, bool):
                escape = self._memory.escape_of(result)
                return result if escape is None else self.tracked(result, escape[0])
        return result

    def argument(self, value: Any) -> Any:
        """Return what stands for `value` in the arguments of a node."""
        if isinstance(value, (Size, Number)):
            return value.node if value.recorder is self else value.plain()
        return super().argument(value)

    def opaque(self, kind: str, call: OpaqueCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Record the inside of a custom function that makes statistics; any other one stays as it is."""
        function = getattr(call.function, "__self__", None)
        if self._paused or kind != "autograd.Function" or function is None:
            return super().opaque(kind, call, args, kwargs)
        if not _makes_statistics(call, args, kwargs):
            return super().opaque(kind, call, args, kwargs)
        self.opened += 1
        return _run_forward(function, args)

    def processes(self, group: Any = None) -> Any:
        """Return the number of processes, which the graph asks for again."""
        size = dist.distributed_c10d.get_world_size(group)
        if self._paused or self.done:
            return size
        named = () if group is None else (self.argument(group),)
        return self.tracked(size, self._number_node("call_function", world_size, named))

    def tracked(self, value: int | float, node: fx.Node) -> Any:
        """Return a number that remembers its node."""
        return Size.of(value, node, self) if isinstance(value, int) else Number.of(value, node, self)

    def told_size(self, size: int) -> int:
        """Return what the layer is told where it wants a plain number."""
        if self._paused or self.done:
            return size
        self.told = True
        return self.tell(size)

    def number(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Compute with numbers, and record it."""
        value = function(*(arg.plain() if isinstance(arg, (Size, Number)) else arg for arg in args))
        if self._paused or self.done:
            return value
        node = self._number_node("call_function", function, tuple(self.argument(arg) for arg in args))
        if isinstance(value, bool):
            self._number_node("call_function", expect, (node, value))
            return value
        return self.tracked(value, node)

    def _of_size(self, tensor: Tensor, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        source = self.argument(tensor)
        if isinstance(result, torch.Size):
            nodes = [self._number_node("call_method", "size", (source, d)) for d in range(len(result))]
            return torch.Size([Size.of(size, node, self) for size, node in zip(result, nodes, strict=True)])
        if args or kwargs:
            return self.tracked(result, self._number_node("call_method", "size", (source, *args, *kwargs.values())))
        return self.tracked(result, self._number_node("call_method", "numel", (source,)))

    def _number_node(self, op: str, target: Any, args: tuple[Any, ...]) -> fx.Node:
        node = self.graph.create_node(op, target, args, {})
        node.meta = context(None, (), self._path[-1], self._base) | {"number": True, "live": False}
        return node


class _Tracked:
    node: fx.Node
    recorder: _SizedRecorder

    @classmethod
    def of(cls, value: int | float, node: fx.Node, recorder: _SizedRecorder) -> Self:
        """Return the number `value`, made by `node`."""
        made = cls(value)  # type: ignore[call-arg]
        made.node, made.recorder = node, recorder
        return made

    def __neg__(self) -> Any:
        return self.recorder.number(operator.neg, (self,))

    def __reduce__(self) -> Any:
        return type(self.plain()), (self.plain(),)  # type: ignore[attr-defined]


def _binary(name: str, swapped: bool) -> Callable[[Any, Any], Any]:
    function = getattr(operator, name)

    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, (int, float)):
            return NotImplemented
        return self.recorder.number(function, (other, self) if swapped else (self, other))

    return method


_OPERATORS = {f"__{name}__": _binary(name, swapped=False) for name in (*_ARITHMETIC, *_COMPARISONS)}
_OPERATORS |= {f"__r{name}__": _binary(name, swapped=True) for name in _ARITHMETIC}


class _SizeBase(_Tracked, int):
    __hash__ = int.__hash__

    def plain(self) -> int:
        """Return the number alone."""
        return int.__int__(self)

    def __int__(self) -> int:
        return self.recorder.told_size(self.plain())

    def __float__(self) -> float:
        return float(self.recorder.told_size(self.plain()))

    def __deepcopy__(self, memo: Any) -> int:
        return self.plain()


class _NumberBase(_Tracked, float):
    __hash__ = float.__hash__

    def plain(self) -> float:
        """Return the number alone."""
        return float.__float__(self)

    def __deepcopy__(self, memo: Any) -> float:
        return self.plain()


Size: Any = type("Size", (_SizeBase,), {**_OPERATORS, "__hash__": int.__hash__})
Number: Any = type("Number", (_NumberBase,), {**_OPERATORS, "__hash__": float.__hash__})


def _makes_statistics(call: OpaqueCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether all that a call returns is smaller than what it is given."""
    with torch.no_grad(), torch._C.DisableTorchFunction(), suppress(Exception):
        largest = max((tensor.numel() for tensor in tensors_in(args)), default=0)
        return all(tensor.numel() < largest for tensor in tensors_in(call(*args, **kwargs)))
    return False


def _run_forward(function: Any, args: tuple[Any, ...]) -> Any:
    """Run the forward of a custom function as plain operations."""
    nothing = lambda *_: None  # noqa: E731
    names = ("save_for_backward", "save_for_forward", "mark_dirty", "mark_non_differentiable", "set_materialize_grads")
    stand_in = SimpleNamespace(**dict.fromkeys(names, nothing), needs_input_grad=(True,) * len(args))
    if function.setup_context is not torch.autograd.function._SingleLevelFunction.setup_context:
        return function.forward(*args)
    return function.forward(stand_in, *args)
