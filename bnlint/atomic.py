"""Write a file whole or not at all."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from bnlint.errors import InputError


def write(path: Path, fill: Callable[[BinaryIO], object], verify: Callable[[Path], None] | None = None) -> None:
    """Write a file by way of a temporary one in the same folder.

    That one is flushed to the disk, verified, and only then takes the target's place. If anything fails, the target
    and its folder are as before.

    Args:
        path: The target; if it exists, its permission bits are kept, and a link stays a link.
        fill: Writes the content.
        verify: Reads the temporary file back and raises if it is not what it should be.

    Raises:
        InputError: The target cannot be written, or is a folder or a device.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        # To take the place of a device such as /dev/null would take it from the whole machine.
        raise InputError("cannot be written: not a regular file", where=str(path))
    temporary = target.with_name(f".bnlint-{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        if verify is not None:
            verify(temporary)
        temporary.replace(target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder, and some file systems cannot sync one: the rename is then as safe as it gets.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
