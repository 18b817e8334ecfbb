"""Leaves a model exactly as found: what a forward may change is stood in for, or saved and written back."""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.jit import ScriptModule
from torch.overrides import TorchFunctionMode

from bnlint.errors import InputError

_T = TypeVar("_T")
_OPAQUE = (type, FunctionType, ModuleType)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


@contextmanager
def preserved(model: nn.Module, kept: Iterable[Tensor] = ()) -> Iterator[None]:
    """Leave the model exactly as found, also after an exception.

    Inside, buffers and plain-attribute tensors are detached copies, so the user's own tensors are never
    touched: values, identity and graph stay. Parameters keep their identity and start without `.grad`;
    values, `.grad` and `requires_grad` come back. Every dict, list and set in a module's attributes (training
    flags, hooks and submodules are among them) and the attributes of plain objects found there get back their
    content. So do the random states (Python, NumPy, CPU, CUDA), grad mode and default dtype.

    Args:
        model: The model.
        kept: Tensors of it that are preserved around this already, and stay the same objects: no other copy is made.

    Raises:
        InputError: The model has parameters that do not exist before its first forward (lazy modules).
    """
    _reject_lazy(model)
    state = _State()
    for tensor in kept:
        state.keep(tensor)
    state.visit(model)
    for module in model.modules():
        if isinstance(module, ScriptModule):
            state.save_flag(module)
    for tensor in (*model.parameters(), *model.buffers()):
        state.save_in_place(tensor)
    grad, dtype = torch.is_grad_enabled(), torch.get_default_dtype()
    with random_state():
        try:
            yield
        finally:
            torch.set_grad_enabled(grad)
            torch.set_default_dtype(dtype)
            state.restore()


def detached_copy(module: nn.Module) -> nn.Module:
    """Deep-copy a module, also one that keeps tensors of an earlier graph in its attributes (they come detached).

    Forward and backward hooks stay behind: their closures share state with the user's program. The hooks of
    `torch.nn.utils` (weight and spectral norm, pruning) come along, for they compute the layer's weight.

    Raises:
        InputError: Something in the module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for name in _HOOKS:
            hooks = vars(part).get(name)
            if isinstance(hooks, dict):
                memo[id(hooks)] = type(hooks)(_of_torch(hooks))
        if dist.is_available():  # a group of processes is one for all copies
            memo |= {id(value): value for value in vars(part).values() if isinstance(value, dist.ProcessGroup)}
    try:
        twin = copied(module, lambda tensor: tensor.detach().clone(), memo, every=False)
        for parameter in twin.parameters():
            if not parameter.is_leaf:  # TorchScript copies its parameters with a graph
                parameter.detach_().requires_grad_()
        return twin
    except Exception as error:
        raise InputError(
            f"the module cannot be copied: {type(error).__name__}: {first_line(error)}",
            where=type(module).__name__,
            hint="keep what cannot be copied (locks, open files) out of its attributes",
        ) from error


@contextmanager
def without_hooks(module: nn.Module) -> Iterator[None]:
    """Run a model without the user's hooks, which are not to see made-up data; those of `torch.nn.utils` stay."""
    kept: list[tuple[dict[Any, Any], dict[Any, Any]]] = []
    for part in module.modules():
        for name in _HOOKS:
            hooks = vars(part).get(name)
            if isinstance(hooks, dict) and hooks:
                kept.append((hooks, dict(hooks)))
    try:
        for hooks, before in kept:
            hooks.clear()
            hooks.update(_of_torch(before))
        yield
    finally:
        for hooks, before in kept:
            hooks.clear()
            hooks.update(before)


def _of_torch(hooks: dict[Any, Any]) -> dict[Any, Any]:
    return {key: hook for key, hook in hooks.items() if type(hook).__module__.startswith("torch.nn.utils")}


def copied(value: _T, replace: Callable[[Tensor], Tensor], memo: dict[int, Any], *, every: bool) -> _T:
    """Deep-copy `value` with `replace(tensor)` in place of its tensors: `every` one, or only those with a graph."""
    with _Copying(replace, every):
        return copy.deepcopy(value, memo)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or "" if it has none."""
    return next(iter(str(error).splitlines()), "")


class _Copying(TorchFunctionMode):
    """Decides how `copy.deepcopy` copies a tensor, wherever in an object it is kept."""

    def __init__(self, replace: Callable[[Tensor], Tensor], every: bool) -> None:
        super().__init__()
        self._replace = replace
        self._every = every

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__deepcopy__:
            tensor, memo = args
            if self._every or not tensor.is_leaf:
                return memo.setdefault(id(tensor), self._replace(tensor))
        return func(*args, **(kwargs or {}))


class _State:
    """Walks what a module holds, puts detached copies in for tensors, and remembers how to undo it."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._seen: dict[int, tuple[Any, Any]] = {}  # id -> (value, stand-in); keeps both alive, so ids stay unique
        self._saved: set[int] = set()

    def restore(self) -> None:
        for undo in reversed(self._undo):
            undo()

    def visit(self, value: Any, objects: int = 1) -> Any:
        """Return what stands in for `value`; `objects` counts how deep plain objects are entered."""
        if id(value) in self._seen:
            return self._seen[id(value)][1]
        self._seen[id(value)] = (value, value)
        if isinstance(value, nn.Parameter):
            self.save_in_place(value)
        elif isinstance(value, Tensor):
            return self._stand_in(value, value.detach().clone().requires_grad_(value.is_leaf and value.requires_grad))
        elif isinstance(value, nn.Module):
            self._enter_dict(vars(value), objects)
        elif isinstance(value, dict):
            self._enter_dict(value, objects)
        elif isinstance(value, (list, deque, set)):
            self._enter_collection(value, objects)
        elif isinstance(value, tuple):
            return self._stand_in(value, self._rebuilt(value, objects))
        elif objects and isinstance(getattr(value, "__dict__", None), dict) and not isinstance(value, _OPAQUE):
            self._enter_dict(vars(value), objects - 1)
        return value

    def save_flag(self, module: ScriptModule) -> None:
        """Save the training flag of a TorchScript module, which Python's attributes do not hold."""
        training = getattr(module, "training", None)
        if training is not None:
            self._undo.append(lambda: setattr(module, "training", training))

    def keep(self, tensor: Tensor) -> None:
        """Leave a tensor alone wherever it is met."""
        self._seen[id(tensor)] = (tensor, tensor)
        self._saved.add(id(tensor))

    def save_in_place(self, tensor: Tensor) -> None:
        """Save a tensor that stays the same object while the model runs: a parameter, or a buffer of TorchScript."""
        if id(tensor) in self._saved or self._seen.get(id(tensor), (tensor, tensor))[1] is not tensor:
            return
        self._saved.add(id(tensor))
        leaf, requires_grad, data = tensor.is_leaf, tensor.requires_grad, tensor.data
        grad, value = tensor.grad if leaf else None, data.clone()

        def undo() -> None:
            if leaf and not tensor.is_leaf:
                tensor.detach_()
            if leaf and tensor.requires_grad != requires_grad:
                tensor.requires_grad_(requires_grad)
            if data.layout == torch.strided and not tensor.is_set_to(data):
                tensor.data = data
            if not (data.is_meta or isinstance(data, FakeTensor)) and not torch.equal(data, value):
                data.copy_(value)  # through .data: the version counter, and with it graphs of the user, stay valid
            if leaf:
                tensor.grad = grad

        self._undo.append(undo)
        if leaf:
            tensor.grad = None

    def _stand_in(self, value: Any, stand_in: Any) -> Any:
        self._seen[id(stand_in)] = (stand_in, stand_in)
        self._seen[id(value)] = (value, stand_in)
        return stand_in

    def _enter_dict(self, value: dict[Any, Any], objects: int) -> None:
        before = list(value.items())

        def undo() -> None:
            if not _same([x for pair in value.items() for x in pair], [x for pair in before for x in pair]):
                value.clear()
                value.update(before)

        self._undo.append(undo)
        for key, item in before:
            stand_in = self.visit(item, objects)
            if stand_in is not item:
                value[key] = stand_in

    def _enter_collection(self, value: Any, objects: int) -> None:
        before = list(value)

        def refill(items: list[Any]) -> None:
            if not _same(list(value), items):
                value.clear()
                value.update(items) if isinstance(value, set) else value.extend(items)

        self._undo.append(lambda: refill(before))
        refill([self.visit(item, objects) for item in before])

    def _rebuilt(self, value: tuple[Any, ...], objects: int) -> tuple[Any, ...]:
        items = [self.visit(item, objects) for item in value]
        if _same(items, value):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _same(a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _reject_lazy(model: nn.Module) -> None:
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise InputError(
                f"`{name}` has no shape yet (a lazy module)",
                where=type(model).__name__,
                hint="run the model once on a real batch before it is checked",
            )


@contextmanager
def random_state() -> Iterator[None]:
    """Restore the random state of Python, NumPy, the CPU and, where CUDA is in use, its devices."""
    python, numpy = random.getstate(), np.random.get_state()
    cuda_in_use: Callable[[], bool] = torch.cuda.is_initialized
    devices = range(torch.cuda.device_count()) if cuda_in_use() else ()
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
