"""Calls that a TorchFunctionMode cannot look into, announced to a recorder; every patch is undone on the way out."""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointFunction


class OpaqueCall:
    """The target of a node whose inside was not recorded: a custom function, TorchScript or vmap.

    `script` is the compiled method or function where it is one.
    """

    def __init__(self, name: str, function: Callable[..., Any], script: Any = None) -> None:
        self.__name__ = self.__qualname__ = name
        self.function = function
        self.script = script

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it as it ran when it was recorded."""
        return self.function(*args, **kwargs)


Announce = Callable[[str, OpaqueCall, tuple[Any, ...], dict[str, Any]], Any]
"""Runs an opaque call: `announce(kind, call, args, kwargs)` returns its result."""


@contextmanager
def opaque_calls(announce: Announce) -> Iterator[None]:
    """Route every `autograd.Function.apply`, TorchScript call and `vmap` through `announce`."""
    apply = inspect.getattr_static(torch.autograd.Function, "apply")
    functorch = importlib.import_module("torch._functorch.apis")
    vmap = functorch.vmap_impl

    def announced_apply(cls: type, *args: Any, **kwargs: Any) -> Any:
        call = OpaqueCall(cls.__name__, apply.__get__(None, cls))
        return announce("autograd.Function", call, args, kwargs)

    def announced_vmap(
        function: Any, in_dims: Any, out_dims: Any, randomness: Any, chunk: Any, *args: Any, **kwargs: Any
    ) -> Any:
        run = functools.partial(vmap, function, in_dims, out_dims, randomness, chunk)
        return announce("vmap", OpaqueCall("vmap", run), args, kwargs)

    with ExitStack() as patches:
        patches.enter_context(patched(torch.autograd.Function, "apply", classmethod(announced_apply)))
        patches.enter_context(patched(functorch, "vmap_impl", announced_vmap))
        for kind in (torch._C.ScriptFunction, torch._C.ScriptMethod):
            patches.enter_context(patched(kind, "__call__", _announced_script(kind, announce)))
        yield


def _announced_script(kind: Any, announce: Announce) -> Callable[..., Any]:
    original = kind.__call__

    def call(script: Any, *args: Any, **kwargs: Any) -> Any:
        return announce(
            kind.__name__, OpaqueCall(script.name, functools.partial(original, script), script), args, kwargs
        )

    return call


@contextmanager
def module_calls(enter: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any]) -> Iterator[None]:
    """Run every module's call inside the context `enter(module, args, kwargs)`, exceptions included."""
    original = nn.Module.__call__

    def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with enter(module, args, kwargs):
            return original(module, *args, **kwargs)

    with patched(nn.Module, "__call__", call):
        yield


@contextmanager
def plain_execution() -> Iterator[None]:
    """Run compiled models eagerly, and the body of a reentrant checkpoint as if it were not checkpointed.

    A reentrant checkpoint hides its body from autograd until the backward, and forbids `autograd.grad`.
    """
    inline = classmethod(lambda _cls, function, _preserve, *args: function(*args))
    with ExitStack() as patches:
        if "torch._dynamo" in sys.modules:  # importing it takes seconds; a compiled model has done so already
            patches.enter_context(torch.compiler.set_stance("force_eager"))
        patches.enter_context(patched(CheckpointFunction, "apply", inline))
        yield


@contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set `owner.name`; on the way out put back what was there, or remove it where it had been inherited."""
    own, before = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
