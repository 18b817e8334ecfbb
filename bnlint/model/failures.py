"""What to do about a model that fails: the causes that a message of torch tells."""

from __future__ import annotations

import re

_CAUSES = [
    (
        re.compile(r"not compiled with CUDA|no NVIDIA driver|No CUDA GPUs|CUDA driver|no HIP|Found no NVIDIA", re.I),
        "it wants a GPU, and there is none here: take its `.cuda()` and `device='cuda'` out, or run where a GPU is",
    ),
    (
        re.compile(r"Expected all tensors to be on the same device|should be the same.*cuda", re.I),
        "the model puts tensors on a device of its own: say which one with --device cuda",
    ),
    (
        re.compile(r"out of memory|can't allocate memory|not enough memory", re.I),
        "pass a smaller --input (4x3x64x64 tells as much), or another --device",
    ),
    (
        re.compile(r"more than 1 value per channel|more than 1 spatial element", re.I),
        "one value per channel has no variance: pass a larger --input, with more than one sample",
    ),
    (
        re.compile(r"required (positional|keyword-only) argument|unexpected keyword|positional arguments? but", re.I),
        "pass every input in the order of its forward, with a name where it wants one: --input 8x3 --input mask=8:bool",
    ),
    (
        re.compile(
            r"should be the same type|same dtype|Expected tensor for argument.*(Long|Int)|must be .*(Long|Int)", re.I
        ),
        "say the type of the input: --input 8x128:int64",
    ),
    (
        re.compile(r"index out of range", re.I),
        "the numbers are too large: pass real ones, --input batch.pt",
    ),
]


def explained(error: BaseException) -> str | None:
    """Return what to do about an error, None where its message does not tell."""
    text = f"{type(error).__name__}: {error}"
    return next((hint for pattern, hint in _CAUSES if pattern.search(text)), None)
