"""Write a file whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from bnlint.errors import InputError

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # Windows: an open file cannot be removed there
    flock = None  # type: ignore[assignment]

#: no ending of a source file: what a killed run leaves behind is never taken for one
_PREFIX, _SUFFIX = ".bnlint-", ".tmp"


def write(path: Path, fill: Callable[[BinaryIO], object], verify: Callable[[Path], None] | None = None) -> None:
    """Write a file by way of a temporary one in the same folder.

    That one is flushed to the disk, verified, and only then takes the target's place. If anything fails, the target
    and its folder are as before. What killed runs have left in the folder is removed.

    Args:
        path: The target; if it exists, its permission bits and its owner are kept, and a link stays a link.
        fill: Writes the content.
        verify: Reads the temporary file back and raises if it is not what it should be.

    Raises:
        InputError: The target cannot be written, or is a folder or a device.
    """
    with _told(path):
        target = _resolved(path)
        if os.path.lexists(target) and not target.is_file():
            # To take the place of a device such as /dev/null would take it from the whole machine.
            raise InputError("cannot be written: not a regular file", where=str(path))
        _require_writable(target)
        _remove_leftovers(target.parent)
        with _temporary(target) as (temporary, file):
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            fill(file)
            file.flush()
            # It may be another file by now: safetensors writes under a name of its own, and renames.
            with temporary.open("r+b") as written:
                temporary.chmod(mode)
                os.fsync(written.fileno())
                if flock is None:
                    file.close()
                    written.close()
                else:
                    _locked(written)
                if target.exists():
                    _keep_owner_and_mode(target, temporary)
                if verify is not None:
                    verify(temporary)
                temporary.replace(target)
        _sync_folder(target.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Let a folder be filled under another name beside its place, which it takes in the end, whole or not at all.

    What killed runs have left beside its place is removed.

    Raises:
        InputError: There is something in its place, or it cannot be written.
    """
    if os.path.lexists(path):
        raise InputError("exists, and a folder is written only where nothing is", where=str(path))
    with _told(path):
        _remove_leftovers(path.parent)
        temporary, lock = _made(path)
        try:
            yield temporary
            _sync_folder(temporary)
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if lock is not None:
                os.close(lock)
        _sync_folder(path.parent)


def require_place(path: Path) -> None:
    """Demand that a file can be written, before the work whose result it is for.

    Raises:
        InputError: It is a folder, or lies in none, or must not be written.
    """
    with _told(path):
        target = _resolved(path)
        if target.is_dir():
            raise _refused(errno.EISDIR)
        if not target.parent.is_dir():
            raise _refused(errno.ENOENT)
        target.exists()  # complains about a name that is too long
        _require_writable(target)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror or error}", where=str(path)) from error


def _refused(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:  # a link in a circle, before Python 3.13
        raise _refused(errno.ELOOP) from None


def _require_writable(target: Path) -> None:
    """Respect a file that is read-only: to put another in its place would only need its folder."""
    places = [target] if target.exists() else []
    if not places or target.is_file():
        places.append(target.parent)
    if not all(os.access(place, os.W_OK) for place in places if place.exists()):
        raise _refused(errno.EACCES)


@contextmanager
def _temporary(target: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """Open a temporary file beside the target, and remove it in the end if it is still there."""
    path, file = _opened(target)
    try:
        with file:
            yield path, file
    finally:
        with suppress(OSError):
            path.unlink()


def _opened(target: Path) -> tuple[Path, BinaryIO]:
    while True:
        path = target.with_name(f"{_PREFIX}{os.urandom(6).hex()}{_SUFFIX}")
        file = path.open("xb")
        if flock is None or not _locked(file) or path.exists():
            return path, file
        file.close()  # another run took it for a leftover in the moment before it was locked


def _made(target: Path) -> tuple[Path, int | None]:
    """Make a temporary folder beside the target, and lock it where folders can be."""
    while True:
        path = target.with_name(f"{_PREFIX}{os.urandom(6).hex()}{_SUFFIX}")
        path.mkdir()
        if flock is None:
            return path, None
        with suppress(FileNotFoundError):  # another run took it for a leftover in the moment before it was locked
            lock = os.open(path, os.O_RDONLY)
            if not _locked(lock) or path.exists():
                return path, lock
            os.close(lock)


def _locked(file: BinaryIO | int) -> bool:
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except OSError:
        return False
    return True


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders of runs that were killed: nobody holds their lock any more."""
    if flock is None:
        return
    for leftover in folder.glob(f"{_PREFIX}*{_SUFFIX}"):
        with suppress(OSError):
            folders = leftover.is_dir()
            descriptor = os.open(leftover, os.O_NOFOLLOW | (os.O_RDONLY if folders else os.O_RDWR))
            try:
                if _locked(descriptor):
                    shutil.rmtree(leftover) if folders else leftover.unlink()
            finally:
                os.close(descriptor)


def _keep_owner_and_mode(target: Path, temporary: Path) -> None:
    old, new = target.stat(), temporary.stat()
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        with suppress(OSError):  # only root may give a file away
            os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    # Windows cannot open a folder, and some file systems cannot sync one: the rename is then as safe as it gets.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
