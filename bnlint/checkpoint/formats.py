"""Reading and writing checkpoint files."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnlint.atomic import write
from bnlint.checkpoint.code import standing_in
from bnlint.checkpoint.trust import Trust, printable, resolve
from bnlint.errors import InputError, UntrustedError

_ZIP = b"PK\x03\x04"
# The pickled magic number that opens every file of torch.save before version 1.6.
_OLD_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a checkpoint file.

    Attributes:
        path: The file.
        content: The unpickled object: a model, a dict that holds models, a state dict, or anything else.
        names: The class that stands in for each name in the file, such as `__main__.Net`; `save` writes these names.
    """

    path: Path
    content: Any
    names: Mapping[str, type] = field(default_factory=dict)


def load(path: Path, trust: Trust | None = None, map_location: str = "cpu") -> Checkpoint:
    """Read a checkpoint; nothing in it is run but what `trust` names.

    With `trust.everything` the file is unpickled without a list, and runs whatever it says: warn before.

    Raises:
        InputError: The file is not a checkpoint, is damaged, or does not fit the classes that it names.
        UntrustedError: The file needs something that nobody named; nothing in it was executed.
    """
    trust = trust or Trust()
    identify(path, old_formats=trust.everything)
    if trust.everything:
        names = {f"__main__.{name}": cls for name, cls in trust.code.items()}
        with standing_in(names):
            return Checkpoint(path, _unpickle(path, map_location, weights_only=False), names)
    admitted = resolve(path, trust)
    with torch.serialization.safe_globals([*admitted]):
        content = _unpickle(path, map_location, weights_only=True)
    own = set(trust.code.values())
    return Checkpoint(path, content, {name: value for value, name in admitted if value in own})


def modules(content: object) -> list[tuple[str, nn.Module]]:
    """Find the models in a checkpoint: `("", model)`, or with their dotted place in its dicts and lists.

    A model that is held twice is given once; a state dict holds none.
    """
    return list(_modules("", content, set()))


def save(
    content: object,
    path: Path,
    *,
    verify: Callable[[Path], None],
    names: Mapping[str, type] | None = None,
) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        content: What to write.
        path: The target.
        verify: Reads the temporary file back and raises if it is not what it should be.
        names: Names under which classes are written, as in `Checkpoint.names`.

    Raises:
        InputError: The content cannot be pickled, or the target cannot be written.
    """
    write(path, lambda file: _pickle(content, file, names or {}, path), verify)


def identify(path: Path, *, old_formats: bool = False) -> None:
    """Make sure that a file is a checkpoint of torch.save, and say what it is where it is not.

    Args:
        path: The file; only looked at, never unpickled.
        old_formats: Accept plain pickles and what torch wrote before 1.6, whose globals cannot be listed.

    Raises:
        InputError: It is something else, and what to do about it.
    """
    what, hint = _kind(path, old_formats)
    if what:
        raise InputError(what, where=str(path), hint=hint)


def _kind(path: Path, old_formats: bool) -> tuple[str | None, str | None]:
    if path.is_dir():
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
        return (
            "a safetensors file: tensors only, without the layers",
            "check the model: bnlint check PKG.MODULE:FACTORY",
        )
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
        return None, None
    return "not a checkpoint of torch.save", None


def _zip_kind(path: Path) -> tuple[str | None, str | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception:  # damage anywhere in the directory shows as one of half a dozen errors
        return "damaged or cut short: the archive has no readable end", "copy or download it again"
    if "constants.pkl" in names:
        return "a TorchScript archive, not a pickled model", "check the model it was made from: PKG.MODULE:FACTORY"
    if "data.pkl" not in names:
        return "a zip archive, but not one of torch.save", None
    return None, None


def _unpickle(path: Path, map_location: str, *, weights_only: bool) -> Any:
    try:
        return torch.load(path, map_location=map_location, weights_only=weights_only)
    except pickle.UnpicklingError as error:
        # torch wraps the reason in advice on how to load the file all the same.
        reason = printable(error.__context__ or error)
        if weights_only:
            raise UntrustedError(f"refused while loading: {reason}", where=str(path)) from error
        raise InputError(f"cannot be loaded: {reason}", where=str(path)) from error
    except Exception as error:  # a hostile or outdated file can make any class fail in any way
        reason = printable(f"{type(error).__name__}: {error}")
        hint = "is this the code, and are these the library versions, that the file was saved with?"
        raise InputError(f"cannot be loaded: {reason}", where=str(path), hint=hint) from error


def _pickle(content: object, file: Any, names: Mapping[str, type], path: Path) -> None:
    try:
        with standing_in(names):
            torch.save(content, file)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"cannot be saved: {error}", where=str(path)) from error


def _modules(name: str, value: object, seen: set[int]) -> Iterator[tuple[str, nn.Module]]:
    if id(value) in seen or not isinstance(value, nn.Module | Mapping | list | tuple):
        return
    seen.add(id(value))
    if isinstance(value, nn.Module):
        yield name, value
        return
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in items:
        yield from _modules(f"{name}.{key}" if name else str(key), item, seen)
