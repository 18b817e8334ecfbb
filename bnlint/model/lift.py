"""Run a layer in float64 although its code casts to lower precision."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

_LOW = {torch.float32, torch.float16, torch.bfloat16}
_CASTS = {"float", "half", "bfloat16"}


class Lifted(TorchFunctionMode):
    """Turns every cast to a floating type, and every tensor made in one, into float64.

    Finite differences need the precision: a float32 cast inside a layer alone costs them five digits.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _CASTS:
            return torch.Tensor.double(*args)
        lifted = {key: torch.float64 if _is_low(value) else value for key, value in (kwargs or {}).items()}
        return func(*(torch.float64 if _is_low(value) else value for value in args), **lifted)


def _is_low(value: object) -> bool:
    return isinstance(value, torch.dtype) and value in _LOW
