"""Reading folders of `torch.distributed.checkpoint`, with torch's own reader.

Tensors stay on the disk: what is read of a folder has tensors without values in their places, and each is read when it
is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint._nested_dict import unflatten_state_dict
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader

from bnlint.checkpoint.archive import require_sound
from bnlint.checkpoint.blob import Blob
from bnlint.checkpoint.code import standing_in
from bnlint.checkpoint.kinds import METADATA
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.shards.index import Entry, Index, Part, as_metadata
from bnlint.checkpoint.shards.parse import read_index, require_harmless
from bnlint.checkpoint.trust import Trust, admitted, globals_of, printable
from bnlint.checkpoint.unpickle import unpickle
from bnlint.errors import InputError


@dataclass(frozen=True, slots=True)
class Shards:
    """A folder of shards.

    Attributes:
        path: The folder.
        index: What lies where in it.
        tensors: A tensor without values for each that lies there, by name.
        by_storage: Their names by their storages, which shape and place do not change.
        device: Where to put those that are read.
    """

    path: Path
    index: Index
    tensors: Mapping[str, Tensor]
    by_storage: Mapping[int, str]
    device: str = "cpu"

    def entry(self, tensor: Tensor) -> Entry:
        """Return the entry that a tensor without values stands for, whatever shape it was given since."""
        return self.index.entries[self.by_storage[tensor.untyped_storage()._cdata]]

    def read(self, value: Any) -> Any:
        """Return a tensor with its values in place of one without; anything else as it is.

        Raises:
            InputError: A part of it is damaged.
        """
        if not (isinstance(value, Tensor) and value.is_meta):
            return value
        entry = self.entry(value)
        for part in entry.parts:
            require_sound(blob(self.path, entry.name, part))
        whole = Index({entry.name: entry})
        try:
            with bounded(_size(self.path, whole)):
                tensor = torch.empty(entry.shape, dtype=entry.dtype)
                _fill(tensor, entry.name, self.path, whole)
        except Exception as error:  # a hostile file fails in any way
            what = f"cannot be loaded: {printable(f'{type(error).__name__}: {error}')}"
            raise InputError(what, where=_where(self.path, entry.name)) from error
        return tensor.reshape(value.shape).to(self.device)


def load_shards(file: Path, trust: Trust, device: str) -> tuple[Shards, Any, dict[str, type]]:
    """Read a folder; nothing in it is run but what `trust` names.

    Args:
        file: Its index, which is its `.metadata` or is to become that.
        trust: What the folder may use.
        device: Where to put tensors once they are read.

    Returns:
        The folder; its content, whose tensors have no values; and the class that stands in for each name in it.

    Raises:
        InputError: It is damaged.
        UntrustedError: It needs something that nobody named; nothing in it was run.
    """
    folder, index = file.parent, read_index(file)
    require_harmless(index, folder)
    values, names = _values(folder, index, trust)
    tensors = {
        entry.name: torch.empty(entry.shape, dtype=entry.dtype, device="meta")
        for entry in index.entries.values()
        if entry.dtype is not None
    }
    whole = {name: tensors[name] if name in tensors else values[name] for name in index.entries}
    try:
        with bounded(_size(folder, index)):
            content = unflatten_state_dict(whole, {name: entry.place for name, entry in index.entries.items()})
    except (LookupError, TypeError, ValueError, AttributeError, MemoryError) as error:
        raise InputError(f"damaged: its {METADATA} has two values in one place", where=str(folder)) from error
    by_storage = {tensor.untyped_storage()._cdata: name for name, tensor in tensors.items()}
    return Shards(folder, index, tensors, by_storage, device), content, names


def blob(folder: Path, name: str, part: Part) -> Blob:
    """Read a part of a file of a folder."""
    with (folder / part.file).open("rb") as file:
        file.seek(part.start)
        return Blob(file.read(part.length), _where(folder, name))


def _values(folder: Path, index: Index, trust: Trust) -> tuple[dict[str, Any], dict[str, type]]:
    """Read what is no tensor, once the globals of all of it are admitted."""
    parts = {entry.name: entry.parts[0] for entry in index.entries.values() if entry.dtype is None}
    asked: set[str] = set()
    for name, part in parts.items():
        value = blob(folder, name, part)
        require_sound(value)
        asked.update(() if trust.everything else globals_of(value))
    pairs = admitted(sorted(asked), folder, trust)
    own = set(trust.code.values())
    names = {name: value for value, name in pairs if value in own}
    if trust.everything:
        names = {f"__main__.{name}": cls for name, cls in trust.code.items()}
    values = {}
    with torch.serialization.safe_globals([*pairs]), standing_in(names if trust.everything else {}):
        for name, part in parts.items():
            with bounded(part.length):
                values[name] = unpickle(blob(folder, name, part), "cpu", weights_only=not trust.everything)
    return values, names


def _fill(tensor: Tensor, name: str, folder: Path, index: Index) -> None:
    """Let torch put the chunks of a tensor together."""
    metadata = as_metadata(index)
    reader = FileSystemReader(folder)
    reader.set_up_storage_reader(metadata, is_coordinator=True)
    planner = DefaultLoadPlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner({name: tensor}, metadata, is_coordinator=True)
    reader.read_data(planner.create_local_plan(), planner).wait()


def _size(folder: Path, index: Index) -> int:
    return sum((folder / name).stat().st_size for name in index.files)


def _where(folder: Path, name: str) -> str:
    return f"{folder}: {printable(name)}"
