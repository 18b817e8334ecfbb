"""What is known at the moment a node is recorded: who called, and in which modes."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import Tensor

from bnlint.model.memory import tensors_in
from bnlint.model.told import Frame, told

_INTERNAL = (
    f"{Path(torch.__file__).parent}{os.sep}",  # with the separator, or torchvision would be internal as well
    f"{Path(__file__).parent}{os.sep}",
    str(contextlib.__file__),
    "<frozen",
    "<eval_with_key>",
)


def context(value: Any, held: Sequence[Tensor], module: str, base: FrameType) -> dict[str, Any]:
    """Return the meta (see `recorder`) of a node that makes `value` out of the tensors `held`.

    Frames are those between the caller and `base`.
    """
    tensors = tensors_in(value)
    device = next((tensor.device.type for tensor in (*tensors, *held)), "cpu")
    autocast = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
    lives = [tensor.requires_grad for tensor in tensors if tensor.is_floating_point() or tensor.is_complex()]
    place = told()
    if place is not None and place.module:
        module = f"{module}.{place.module}".lstrip(".")
    shape = {"shape": tuple(value.shape), "dtype": value.dtype} if isinstance(value, Tensor) else {}
    return {
        "frames": _frames(base) if place is None else place.frames,
        "module": module,
        "grad": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "device": device,
        "autocast": (autocast, torch.get_autocast_dtype(device) if autocast else None),
        "live": any(lives) if lives else None,
        **shape,
    }


def _frames(base: FrameType) -> tuple[Frame, ...]:
    frames = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not base:
        code = frame.f_code
        if not code.co_filename.startswith(_INTERNAL):
            span = _spans(code)[frame.f_lasti // 2]
            line, end_line, column, end_column = (0 if number is None else number for number in span)
            place = (line, column, end_line, end_column) if line else (frame.f_lineno, 0, frame.f_lineno, 0)
            frames.append(Frame(code.co_filename, frame.f_lineno, code.co_qualname, place))
        frame = frame.f_back
    return tuple(frames)


@functools.lru_cache(maxsize=4096)
def _spans(code: CodeType) -> tuple[tuple[int | None, int | None, int | None, int | None], ...]:
    return tuple(code.co_positions())
