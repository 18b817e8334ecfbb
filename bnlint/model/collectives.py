"""Collectives of older torch, announced to a `TorchFunctionMode` as newer torch announces them itself."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.overrides import handle_torch_function

from bnlint.flow.ops import COLLECTIVES
from bnlint.model.opaque import patched

#: the module that they come from
HOME = "torch.distributed.distributed_c10d"


@contextmanager
def announced_collectives() -> Iterator[None]:
    """Let a mode see the collectives that this torch hides from it, under every name that they were imported by.

    A step that is recorded without them is another one, and in one process nobody would notice.
    """
    with ExitStack() as patches:
        if dist.is_available() and dist.is_initialized():
            hidden = {each: _announced(each) for each in _collectives() if not _announces(each)}
            for module, name, function in imported(hidden):
                patches.enter_context(patched(module, name, hidden[function]))
        yield


def imported(functions: Collection[Callable[..., Any]]) -> list[tuple[ModuleType, str, Callable[..., Any]]]:
    """Return every module, and its name there, where one of some functions is known."""
    sought = {id(function) for function in functions}
    modules = [module for module in sys.modules.values() if isinstance(module, ModuleType)] if sought else []
    return [
        (module, name, value)
        for module in modules
        for name, value in tuple(vars(module).items())
        if id(value) in sought
    ]


def _collectives() -> list[Callable[..., Any]]:
    return [getattr(dist, name) for name in sorted(COLLECTIVES)]


def _announces(function: Callable[..., Any]) -> bool:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return code is not None and "handle_torch_function" in code.co_names


def _announced(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def announced(*args: Any, **kwargs: Any) -> Any:
        if not torch._C._is_torch_function_mode_enabled():  # as while the recorder itself runs the call
            return function(*args, **kwargs)
        tensors = tuple(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
        return handle_torch_function(function, tensors, *args, **kwargs)

    return announced
