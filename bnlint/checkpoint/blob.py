"""Where an archive of `torch.save` is: in a file of its own, or in a larger one."""

from __future__ import annotations

import io
from pathlib import Path


class Blob(io.BytesIO):
    """An archive that lies in a larger file, read into memory; as a text it is its name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self._name = name

    def __str__(self) -> str:
        return self._name


Source = Path | Blob


def size(source: Source) -> int:
    """Return the number of bytes of an archive."""
    return source.stat().st_size if isinstance(source, Path) else source.getbuffer().nbytes


def start(source: Source) -> str | Blob:
    """Return an archive as torch's functions take it, at its beginning."""
    if isinstance(source, Path):
        return str(source)
    source.seek(0)
    return source
