"""The zip archive that `torch.save` writes: looked at before anything reads it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bnlint.checkpoint.disassemble import Program, disassemble
from bnlint.checkpoint.trust import printable
from bnlint.errors import InputError

#: torch compresses nothing; what expands by more than this was made to
_RATIO = 100
_CHUNK = 1 << 22
_DAMAGED = "copy or download it again"


def require_sound(path: Path) -> None:
    """Refuse an archive that is damaged, or made to be read in another way than torch writes it; and a broken pickle.

    Raises:
        InputError: Says what is wrong with it.
    """
    require_whole(path)
    with reading(path):
        try:
            program_of(path)
        except ValueError as error:
            raise InputError(f"damaged: {error}", where=str(path), hint=_DAMAGED) from error


def require_whole(path: Path) -> None:
    """Refuse an archive in which a part is damaged, or made to be read in another way than torch writes it.

    Each part is read once, in pieces, and held against its checksum: torch itself does not look at them.

    Raises:
        InputError: Says what is wrong with it.
    """
    with reading(path):
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            wrong = _wrong(infos, path.stat().st_size)
            wrong = wrong or next(filter(None, (_wrong_part(info, archive) for info in infos)), None)
        if wrong:
            raise InputError(wrong, where=str(path), hint=_DAMAGED)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Say of an archive that it is damaged: that shows as one of half a dozen errors."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError("damaged: a part of the archive cannot be read", where=str(path), hint=_DAMAGED) from error


def program_of(path: Path) -> Program:
    """Disassemble the pickle of an archive; nothing in it is run.

    Raises:
        ValueError: It is no pickle.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(each for each in archive.namelist() if each.rpartition("/")[2] == "data.pkl")
        with archive.open(name) as file:
            return disassemble(file)


def _wrong(infos: list[zipfile.ZipInfo], size: int) -> str | None:
    names = [info.filename for info in infos]
    if len(set(names)) < len(names):
        return "damaged: two parts of the archive have one name"
    if sum(info.compress_size for info in infos) > size:
        return "damaged: its parts overlap"
    if any(name.startswith(("/", "\\")) or ".." in name.replace("\\", "/").split("/") for name in names):
        return "not written by torch.save: a part of the archive is named like a path out of it"
    if any(info.file_size > _RATIO * info.compress_size + _CHUNK for info in infos):
        return "not written by torch.save: a part of the archive expands to more than a hundred times its size"
    return None


def _wrong_part(info: zipfile.ZipInfo, archive: zipfile.ZipFile) -> str | None:
    if not info.CRC:  # torch.serialization.set_crc32_options(False) writes none
        return None
    try:
        with archive.open(info) as part:
            while part.read(_CHUNK):
                pass
    except zipfile.BadZipFile:
        return f"damaged: its part `{printable(info.filename)}` does not match its checksum"
    return None
