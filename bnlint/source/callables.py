"""Calls that take a function and give one back that does the same: `partial`, `torch.compile`, `lru_cache`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnlint.source.values import Class, Function, Instance, Literal, Name, Partial, Value

#: what gives back a function that returns the same values
_WRAPPING = frozenset(
    {
        "torch.jit.script",
        "torch.jit.script_if_tracing",
        "torch.jit.ignore",
        "torch.jit.unused",
        "torch.compile",
        "torch.compiler.disable",
        "torch._dynamo.disable",
        "torch.vmap",
        "torch.func.vmap",
        "functools.lru_cache",
        "functools.cache",
    }
)
_CALLABLE = (Function, Partial, Name, Class, Instance)


def made_callable(path: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Value | None:
    """Return the function that a call gives back, None where it gives something else.

    Args:
        path: What is called.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    match path, args:
        case "functools.partial", [Function() | Partial() | Name() | Class() | Instance() as callee, *given]:
            return Partial(callee, tuple(given), dict(kwargs))
        case _, [callee, *_] if path in _WRAPPING and isinstance(callee, _CALLABLE):
            return callee
        case _, [] | [Literal()] if path in _WRAPPING:  # `torch.compile(fullgraph=True)(function)`
            return Name(path)
        case _:
            return None
