"""The certificate of a repaired file: who measured what, on which file, and which file came out."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bnlint.certificate import Certificate
from bnlint.errors import InputError


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, as `sha256sum` prints it; of a folder, that of what it prints for its files.

    Raises:
        InputError: It cannot be read.
    """
    if path.is_dir():
        lines = [f"{digest(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.is_file()]
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def proof(
    certificates: Sequence[Certificate],
    device: torch.device,
    given: tuple[Path, str],
    made: tuple[Path, str] | None,
    version: str,
) -> dict[str, Any]:
    """Return what `--certificate` writes, as plain values for JSON.

    Args:
        certificates: One for each layer that was repaired.
        device: Where they were measured.
        given: The file that was read, and its digest before anything was written.
        made: The file that was written and its digest, None if none was.
        version: That of bnlint.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": {"bnlint": version, "torch": torch.__version__, "python": platform.python_version()},
        "device": {"type": device.type, "name": name},
        "input": _file(given),
        "output": None if made is None else _file(made),
        "layers": [certificate.to_dict() for certificate in certificates],
    }


def _file(described: tuple[Path, str]) -> dict[str, str]:
    path, sha256 = described
    return {"path": str(path), "sha256": sha256}
