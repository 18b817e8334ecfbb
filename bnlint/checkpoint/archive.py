"""The zip archive that `torch.save` writes: looked at before anything reads it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from bnlint.checkpoint.blob import Source, size, start
from bnlint.checkpoint.disassemble import Program, disassemble
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.trust import printable
from bnlint.errors import InputError

#: torch compresses nothing; what expands by more than this was made to
_RATIO = 100
_CHUNK = 1 << 22
_DAMAGED = "copy or download it again"


def require_sound(path: Source) -> Program:
    """Refuse an archive that is damaged, or made to be read in another way than torch writes it; and a broken pickle.

    Returns:
        What its pickle would do; nothing in it is run.

    Raises:
        InputError: Says what is wrong with it.
    """
    require_whole(path)
    with reading(path), bounded(size(path)):
        try:
            return disassemble(io.BytesIO(opened(path).get_record("data.pkl")))
        except ValueError as error:
            raise InputError(f"damaged: {error}", where=str(path), hint=_DAMAGED) from error


def require_whole(path: Source) -> None:
    """Refuse an archive in which a part is damaged, or made to be read in another way than torch writes it.

    Each part is read once, in pieces, and held against its checksum: torch itself does not look at them.

    Raises:
        InputError: Says what is wrong with it.
    """
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            wrong = _wrong(infos, size(path))
            wrong = wrong or next(filter(None, (_wrong_part(info, archive) for info in infos)), None)
        if wrong:
            raise InputError(wrong, where=str(path), hint=_DAMAGED)


@contextmanager
def reading(path: Source) -> Iterator[None]:
    """Say of an archive that it is damaged: that shows as one of half a dozen errors."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError("damaged: a part of the archive cannot be read", where=str(path), hint=_DAMAGED) from error


def opened(path: Source) -> Any:
    """Open an archive with torch's own reader, whose parts are those that loading sees.

    Raises:
        InputError: Python's reader sees other parts.
    """
    reader = torch._C.PyTorchFileReader(start(path))
    with zipfile.ZipFile(path) as archive:
        listed = [name.partition("/")[2] for name in archive.namelist()]
    if sorted(reader.get_all_records()) != sorted(listed):
        raise InputError("not written by torch.save: it has parts that torch does not see", where=str(path))
    return reader


def _wrong(infos: list[zipfile.ZipInfo], whole: int) -> str | None:
    names = [info.filename for info in infos]
    if len({name.lower() for name in names}) < len(names):  # torch asks for them in any case of letters
        return "damaged: two parts of the archive have one name"
    if sum(info.compress_size for info in infos) > whole:
        return "damaged: its parts overlap"
    if any(name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") for name in names):
        return "not written by torch.save: a part of the archive is named like a path out of it"
    if any(info.file_size > _RATIO * info.compress_size + _CHUNK for info in infos):
        return "not written by torch.save: a part of the archive expands to more than a hundred times its size"
    return None


def _wrong_part(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> str | None:
    try:
        with archive.open(info) as part:
            while info.CRC and part.read(_CHUNK):  # torch.serialization.set_crc32_options(False) writes none
                pass
    except zipfile.BadZipFile:
        return f"damaged: its part `{printable(info.filename)}` does not match its name or its checksum"
    return None
