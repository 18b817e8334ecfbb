"""Safetensors files: tensors by name, and a text or two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO

from torch import Tensor

from bnlint.checkpoint.trust import printable
from bnlint.errors import InputError, needing

_NEEDS = "safetensors files need"


def read(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, str] | None]:
    """Return the tensors of a file, which stay in it until they are looked at, and its texts.

    Raises:
        InputError: It is damaged.
    """
    with needing("safetensors", _NEEDS, "safetensors"):
        from safetensors import safe_open
    try:
        with safe_open(path, framework="pt", device=device) as file:
            names = file.keys()  # not a mapping: it cannot be iterated itself
            return {name: file.get_tensor(name) for name in names}, file.metadata()
    except Exception as error:  # the library has an error of its own, and passes on others
        reason = printable(error)
        hint = "copy or download it again"
        raise InputError(f"a safetensors file that is damaged: {reason}", where=str(path), hint=hint) from error


def write(tensors: Mapping[str, Tensor], texts: Mapping[str, str] | None, file: IO[bytes]) -> None:
    """Write tensors into a file that is open for writing."""
    from safetensors.torch import save_file

    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(whole, file.name, metadata=None if texts is None else dict(texts))
