"""Reading and writing checkpoint files."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch
from torch import nn

from bnlint.atomic import write
from bnlint.checkpoint import safe_tensors
from bnlint.checkpoint.archive import require_sound
from bnlint.checkpoint.code import standing_in
from bnlint.checkpoint.kinds import METADATA, Kind, identify
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.locations import located
from bnlint.checkpoint.trust import Trust, resolve
from bnlint.checkpoint.unpickle import unpickle
from bnlint.checkpoint.walk import walk
from bnlint.errors import InputError

if TYPE_CHECKING:  # torch.distributed takes a second to import, and not every torch has it
    from bnlint.checkpoint.shards.folder import Shards


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a checkpoint file.

    Attributes:
        path: The file.
        content: The unpickled object: a model, a dict that holds models, a state dict, or anything else.
        names: The class that stands in for each name in the file, such as `__main__.Net`; `save` writes these names.
        kind: Its format.
        texts: What a safetensors file says beside its tensors.
        shards: Of a folder, what lies where; its tensors in `content` have no values.
    """

    path: Path
    content: Any
    names: Mapping[str, type] = field(default_factory=dict)
    kind: Kind = Kind.ZIP
    texts: Mapping[str, str] | None = None
    shards: Shards | None = None

    def read(self, value: Any) -> Any:
        """Return a value of the content, read from the disk if it is a tensor that lies there still."""
        return value if self.shards is None else self.shards.read(value)


def load(path: Path, trust: Trust | None = None, map_location: str = "cpu", *, sound: bool = False) -> Checkpoint:
    """Read a checkpoint; nothing in it is run but what `trust` names.

    Tensors of a large file stay in it until they are looked at. With `trust.everything` the file is unpickled without a
    list, and runs whatever it says: warn before.

    Args:
        path: The file.
        trust: What the user allows it to use.
        map_location: The device to put tensors on.
        sound: Whether the file was just written by this process, and need not be looked at before it is read.

    Raises:
        InputError: The file is not a checkpoint, is damaged, or does not fit the classes that it names.
        UntrustedError: The file needs something that nobody named; nothing in it was executed.
    """
    trust = trust or Trust()
    kind = identify(path, old_formats=trust.everything)
    if kind is Kind.SAFETENSORS:
        tensors, texts = safe_tensors.read(path, map_location)
        return Checkpoint(path, tensors, kind=kind, texts=texts)
    if kind is Kind.SHARDS:
        return load_folder(path / METADATA, trust, map_location)
    if kind is Kind.ZIP and not sound:
        require_sound(path)
    if trust.everything:
        names = {f"__main__.{name}": cls for name, cls in trust.code.items()}
        with standing_in(names):
            return Checkpoint(
                path, unpickle(path, map_location, mmap=kind is Kind.ZIP, weights_only=False), names, kind
            )
    admitted = resolve(path, trust)
    with torch.serialization.safe_globals([*admitted]), bounded(path.stat().st_size):
        content = unpickle(path, map_location, mmap=kind is Kind.ZIP, weights_only=True)
    try:
        modules(content)
    except InputError as error:
        raise InputError(error.what, where=str(path)) from error
    own = set(trust.code.values())
    return Checkpoint(path, content, {name: value for value, name in admitted if value in own}, kind)


def load_folder(index: Path, trust: Trust, map_location: str = "cpu") -> Checkpoint:
    """Read a folder of `torch.distributed.checkpoint`, as `load` does, by its index or by what is to become that."""
    from bnlint.checkpoint.shards.folder import load_shards

    shards, content, names = load_shards(index, trust, map_location)
    return Checkpoint(index.parent, content, names, Kind.SHARDS, shards=shards)


def modules(content: object) -> list[tuple[str, nn.Module]]:
    """Find the models in a checkpoint: `("", model)`, or with their dotted place in its dicts and lists.

    A model that is held twice is given once; a state dict holds none.
    """
    return [(place, value) for place, value in walk(content) if isinstance(value, nn.Module)]


def save(checkpoint: Checkpoint, path: Path, *, verify: Callable[[Path], None]) -> None:
    """Write a checkpoint whole or not at all, in the format that it was read from.

    Args:
        checkpoint: What to write.
        path: The target.
        verify: Reads the temporary file, or the new index of a folder, back and raises if it is not what it should be.

    Raises:
        InputError: The content cannot be pickled, or the target cannot be written.
    """
    if checkpoint.shards is not None:
        from bnlint.checkpoint.shards.write import save_shards

        with located():
            save_shards(checkpoint.shards, checkpoint.content, path, checkpoint.names, verify)
    elif checkpoint.kind is Kind.SAFETENSORS:
        write(path, lambda file: safe_tensors.write(checkpoint.content, checkpoint.texts, file), verify)
    else:
        write(path, lambda file: _pickle(checkpoint, file, path), verify)


def _pickle(checkpoint: Checkpoint, file: IO[bytes], path: Path) -> None:
    try:
        with standing_in(checkpoint.names), located():
            torch.save(checkpoint.content, file, _use_new_zipfile_serialization=checkpoint.kind is Kind.ZIP)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        raise InputError(f"cannot be saved: {error}", where=str(path)) from error
