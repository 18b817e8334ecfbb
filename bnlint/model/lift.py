"""Run a layer in float64 although its code casts to lower precision."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch.overrides import TorchFunctionMode

_LOW = {torch.float32, torch.float16, torch.bfloat16}
_CASTS = {"float", "half", "bfloat16"}


class Lifted(TorchFunctionMode):
    """Turns every cast to a floating type, and every tensor made in one, into float64.

    Finite differences need the precision: a float32 cast inside a layer alone costs them five digits.
    """

    def __enter__(self) -> Self:
        self._default = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        torch.set_default_dtype(self._default)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name == "__get__":  # most calls read an attribute of a tensor
            return func(*args)
        if name in _CASTS:
            return torch.Tensor.double(*args)
        lifted = {key: torch.float64 if _is_low(value) else value for key, value in (kwargs or {}).items()}
        return func(*(torch.float64 if _is_low(value) else value for value in args), **lifted)


def _is_low(value: object) -> bool:
    return isinstance(value, torch.dtype) and value in _LOW
