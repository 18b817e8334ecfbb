"""Writing folders of `torch.distributed.checkpoint`, with torch's own writer.

What does not change is never read into memory: it is copied with the file that it is in.
"""

from __future__ import annotations

import filecmp
import os
import pickle
import re
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributed.checkpoint import planner as of_torch
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemWriter

from bnlint import atomic
from bnlint.checkpoint.code import standing_in
from bnlint.checkpoint.kinds import METADATA
from bnlint.checkpoint.shards.folder import Shards
from bnlint.checkpoint.shards.index import Entry, Index, Part, Place, as_metadata
from bnlint.checkpoint.verify import same_bytes
from bnlint.errors import InputError

_NUMBER = re.compile(r"__(\d+)_")


def save_shards(
    shards: Shards, content: Any, output: Path, names: Mapping[str, type], verify: Callable[[Path], None]
) -> None:
    """Write a folder whole or not at all, or change one in place.

    Files with tensors that did not change are copied, in place not even that. What did change, and every value that is
    no tensor, goes into one more file, and the index, which takes its place last, names that.

    Args:
        shards: What was read.
        content: What to write, with tensors of `shards` in it.
        output: The new folder, or the one that was read.
        names: The class that stands in for each name, such as `__main__.Net`.
        verify: Called with the index before it takes its place; raises if the folder is not what it should be.

    Raises:
        InputError: It cannot be written.
    """
    if output.exists() and output.samefile(shards.path):
        number = _free_number(shards.path)
        try:
            _put(_write(shards, content, shards.path, number, names), shards.path, verify)
        except BaseException:
            for file in shards.path.glob(f"__{number}_*"):
                file.unlink()
            raise
        return
    with atomic.new_folder(output) as folder:
        files = {part.file for entry in _kept(shards, content).values() for part in entry.parts}
        _copy(shards.path, folder, files)
        _put(_write(shards, content, folder, _free_number(shards.path), names), folder, verify)


def copy_shards(shards: Shards, output: Path) -> None:
    """Copy a folder whole or not at all: its index, and the files that this names."""
    with atomic.new_folder(output) as folder:
        _copy(shards.path, folder, {*shards.index.files, METADATA})


def require_same_tensors(ours: Shards, content: Any, theirs: Shards) -> None:
    """Demand that a folder holds each tensor of a content, bit by bit, or has it in the same part of a copied file.

    Raises:
        InputError: It does not.
    """
    entries = {entry.place: entry for entry in theirs.index.entries.values()}
    for place, value in _leaves(content, entries):
        if not isinstance(value, Tensor) or not value.is_meta:
            continue
        written = entries[place]
        if ours.entry(value).parts == written.parts:
            continue
        mine, read = ours.read(value), theirs.read(theirs.tensors[written.name])
        if not same_bytes(mine.untyped_storage(), read.untyped_storage()):
            raise InputError(f"`{written.name}` does not read back as it was written", where=str(theirs.path))


def _leaves(content: Any, places: Collection[Place]) -> Iterator[tuple[Place, Any]]:
    """Yield the values of a content: its tensors, and what lies in one of these places."""
    todo: list[tuple[Place, Any]] = [((), content)]
    while todo:
        place, value = todo.pop()
        if place in places or isinstance(value, Tensor):
            yield place, value
        elif isinstance(value, Mapping | list):
            items = value.items() if isinstance(value, Mapping) else enumerate(value)
            todo += reversed([((*place, key), item) for key, item in items])


def _kept(shards: Shards, content: Any) -> dict[Place, Entry]:
    """Return the entries of tensors that have the shape that they had, with the names that they have now."""
    places = {entry.place: entry.name for entry in shards.index.entries.values()}
    kept = {}
    for place, value in _leaves(content, places):
        if isinstance(value, Tensor) and value.is_meta:
            entry = shards.entry(value)
            if tuple(value.shape) == entry.shape:
                kept[place] = replace(entry, name=_name(place, places), place=place)
    return kept


def _write(shards: Shards, content: Any, folder: Path, number: int, names: Mapping[str, type]) -> Index:
    """Write what changed as one more file, and return the index of all."""
    places = {entry.place: entry.name for entry in shards.index.entries.values()}
    kept = _kept(shards, content)
    entries: dict[str, Entry] = {}
    changed: dict[str, Any] = {}
    for place, value in _leaves(content, places):
        name = _name(place, places)
        entries[name] = kept.get(place) or Entry(name, place, ())
        if place not in kept:
            changed[name] = shards.read(value)
    for name, part in _written(changed, folder, number, names):
        value, entry = changed[name], entries[name]
        if isinstance(value, Tensor):
            shape = tuple(value.shape)
            chunk = replace(part, offsets=(0,) * len(shape), sizes=shape)
            entries[name] = replace(entry, parts=(chunk,), dtype=value.dtype, shape=shape)
        else:
            entries[name] = replace(entry, parts=(part,))
    return Index(entries, shards.index.version)


def _name(place: Place, names: Mapping[Place, str]) -> str:
    """Return what torch calls a value: as before, or its place with dots."""
    return names.get(place) or ".".join(map(str, place))


def _put(index: Index, folder: Path, verify: Callable[[Path], None]) -> None:
    metadata = as_metadata(index)
    atomic.write(folder / METADATA, lambda file: pickle.dump(metadata, file), verify)


def _written(
    values: Mapping[str, Any], folder: Path, number: int, names: Mapping[str, type]
) -> Iterator[tuple[str, Part]]:
    """Let torch write values as one more process would, and tell where each is."""
    writer = FileSystemWriter(folder)
    planner = DefaultSavePlanner(flatten_state_dict=False, flatten_sharded_tensors=False)
    planner.set_up_planner(dict(values), is_coordinator=True)
    others = [of_torch.SavePlan([])] * number
    plans, _ = planner.create_global_plan([*others, planner.create_local_plan()])
    with standing_in(names):
        results = writer.write_data(writer.prepare_global_plan(plans)[-1], planner).wait()
    for result in results:
        stored = result.storage_data
        yield result.index.fqn, Part(stored.relative_path, stored.offset, stored.length)


def _free_number(folder: Path) -> int:
    """Return a number that no process has that wrote into a folder."""
    found = (_NUMBER.match(path.name) for path in folder.iterdir())
    return max((int(match[1]) for match in found if match), default=-1) + 1


def _copy(folder: Path, target: Path, names: Collection[str]) -> None:
    for name in sorted(names):
        with (folder / name).open("rb") as source, (target / name).open("xb") as file:
            shutil.copyfileobj(source, file, 1 << 22)
            file.flush()
            os.fsync(file.fileno())
        if not filecmp.cmp(folder / name, target / name, shallow=False):
            raise InputError("does not read back as it was written", where=str(target / name))
