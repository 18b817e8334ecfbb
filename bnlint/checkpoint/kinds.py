"""What kind of file a path names, told by its first bytes."""

from __future__ import annotations

import tarfile
import zipfile
from enum import Enum
from pathlib import Path

from bnlint.errors import InputError

#: the index of a folder of torch.distributed.checkpoint
METADATA = ".metadata"
_ZIP = b"PK\x03\x04"
# The pickled magic number that opens every file of torch.save before version 1.6.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_COMPILED = "put the code right that it was made from (bnlint fix FILE.py), load the same state dict, and compile again"


class Kind(Enum):
    """The format of a checkpoint."""

    ZIP = "zip"
    LEGACY = "legacy"
    SAFETENSORS = "safetensors"
    SHARDS = "torch.distributed.checkpoint"


def identify(path: Path, *, old_formats: bool = False) -> Kind:
    """Tell the format of a checkpoint, and what a file is that is none.

    Args:
        path: The file; only looked at, never unpickled.
        old_formats: Accept plain pickles and what torch wrote before 1.6, whose globals cannot be listed.

    Raises:
        InputError: It is something else, and what to do about it.
    """
    found = _kind(path, old_formats)
    if isinstance(found, Kind):
        return found
    what, hint = found
    raise InputError(what, where=str(path), hint=hint)


def _kind(path: Path, old_formats: bool) -> Kind | tuple[str, str | None]:
    if path.is_dir():
        if (path / METADATA).is_file():
            return Kind.SHARDS
        return "a folder, not a checkpoint file", "name the .pt file in it"
    if not path.exists():
        return "no such file", None
    if not path.is_file():
        return "not a regular file", None
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        return f"cannot be read: {error.strerror}", None
    again = "load it where you trust it and write it again with torch.save"
    if not head:
        return "an empty file", "copy or download it again"
    if head.startswith(_ZIP):
        return _zip_kind(path)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 32:
        return Kind.SAFETENSORS
    if head.startswith(_OLD_TORCH) and not old_formats:
        return "written in torch's format from before 1.6, whose globals cannot be listed", again
    if tarfile.is_tarfile(path) and not old_formats:
        return "a tar archive, as torch wrote before 0.2", again
    if head.startswith(b"\x80") and not old_formats:
        return "a plain pickle, not written by torch.save", again
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the checkpoint itself", "git lfs pull"
    if head.isascii() and b"\0" not in head:
        return "a text file, not a checkpoint", "name the file that torch.save wrote"
    if head.startswith(b"\x80") or tarfile.is_tarfile(path):
        return Kind.LEGACY
    return "not a checkpoint of torch.save", None


def _zip_kind(path: Path) -> Kind | tuple[str, str | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.namelist()
    except Exception:  # damage anywhere in the directory shows as one of half a dozen errors
        return "damaged or cut short: the archive has no readable end", "copy or download it again"
    names = {name.rpartition("/")[2] for name in whole}
    if "constants.pkl" in names:
        return "a TorchScript archive, which holds compiled code", _COMPILED
    if any("/models/" in name or name == "serialized_exported_program.json" for name in whole):
        return "an exported program, which holds a graph and no layers", _COMPILED
    if "data.pkl" not in names:
        return "a zip archive, but not one of torch.save", None
    return Kind.ZIP
