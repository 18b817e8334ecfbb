"""What lies where in a folder of `torch.distributed.checkpoint`."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import filesystem
from torch.distributed.checkpoint import metadata as of_torch

#: along how many dimensions tensors are cut: meshes of devices have three or four
_CUTS = 6

Shape = tuple[int, ...]
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file of the folder: what `torch.save` made of a value, or of a chunk of a tensor.

    Attributes:
        file: Name of the file.
        start: Its first byte there.
        length: The number of its bytes.
        offsets: Where the chunk is in its tensor; None for a value.
        sizes: The shape of the chunk.
    """

    file: str
    start: int
    length: int
    offsets: Shape | None = None
    sizes: Shape = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor or another value.

    Attributes:
        name: What torch calls it, which is mostly its place with dots.
        place: Keys and numbers that lead to it through dicts and lists.
        parts: The chunks of a tensor, or the one part of another value.
        dtype: That of a tensor, None for another value.
        shape: The shape of the whole tensor.
        requires_grad: What torch noted about the tensor, and does not look at.
    """

    name: str
    place: Place
    parts: tuple[Part, ...]
    dtype: torch.dtype | None = None
    shape: Shape = ()
    requires_grad: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """What lies where in a folder: its entries by name, torch's version of the format, and what the pickle names."""

    entries: Mapping[str, Entry]
    version: str | None = None
    globals: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the files that it needs."""
        return tuple(dict.fromkeys(part.file for entry in self.entries.values() for part in entry.parts))


def as_metadata(index: Index) -> of_torch.Metadata:
    """Return an index as torch's readers and writers have it."""
    entries: dict[str, Any] = {}
    stored: dict[of_torch.MetadataIndex, Any] = {}
    for entry in index.entries.values():
        chunks = []
        for number, part in enumerate(entry.parts):
            at = of_torch.MetadataIndex(entry.name, part.offsets, None if part.offsets is None else number)
            stored[at] = filesystem._StorageInfo(part.file, part.start, part.length)
            chunks.append(of_torch.ChunkStorageMetadata(torch.Size(part.offsets or ()), torch.Size(part.sizes)))
        entries[entry.name] = of_torch.BytesStorageMetadata()
        if entry.dtype is not None:
            properties = of_torch.TensorProperties(entry.dtype, requires_grad=entry.requires_grad)
            entries[entry.name] = of_torch.TensorStorageMetadata(properties, torch.Size(entry.shape), chunks)
    places = {entry.name: entry.place for entry in index.entries.values()}
    metadata = of_torch.Metadata(entries, places, stored, of_torch.StorageMeta())
    if index.version is not None:  # torch 2.6 has none
        metadata.version = index.version
    return metadata


def require_fitting(index: Index, folder: Path) -> None:
    """Demand that an index asks for no more than its files hold, and leaves nothing of a tensor open.

    Raises:
        ValueError: Says what is wrong.
    """
    entries = list(index.entries.values())
    ways = {entry.place for entry in entries}
    inner = {entry.place[:count] for entry in entries for count in range(1, len(entry.place))}
    if len(ways) < len(entries) or ways & inner:
        raise ValueError("two values lie in one place")
    kinds = {(place[:at], type(key)) for place in ways for at, key in enumerate(place)}
    if len(kinds) > len({parent for parent, _ in kinds}):
        raise ValueError("a list is a dict too")
    if any(isinstance(key, int) and not 0 <= key < len(entries) for place in ways for key in place):
        raise ValueError("a list is longer than there are values")
    lengths = {name: (folder / name).stat().st_size for name in index.files if (folder / name).is_file()}
    missing = [name for name in index.files if name not in lengths]
    if missing:
        raise ValueError(f"`{missing[0]}` is not in the folder")
    ends = dict.fromkeys(lengths, 0)
    for part in sorted((p for entry in entries for p in entry.parts), key=lambda part: part.start):
        if part.start < ends[part.file]:
            raise ValueError("two values are one part of a file")
        ends[part.file] = part.start + part.length
    if any(ends[name] > lengths[name] for name in ends):
        raise ValueError("a file is cut short")
    for entry in entries:
        if entry.dtype is not None and not _tiles(entry, entry.dtype.itemsize):
            raise ValueError(f"the chunks of `{entry.name}` do not make up the tensor")


def _tiles(entry: Entry, itemsize: int) -> bool:
    """Whether chunks fill a tensor and share nothing, and each has the bytes that it needs.

    Boxes do so exactly if, counted with alternating signs, their corners are those of the tensor.
    """
    if not math.prod(entry.shape):
        return True
    if any(len(entry.shape) != len(p.sizes) or len(p.sizes) != len(p.offsets or ()) for p in entry.parts):
        return False
    if any(math.prod(part.sizes) * itemsize > part.length for part in entry.parts):
        return False
    at = [(part.offsets or (), part.sizes) for part in entry.parts]
    cut = [d for d, size in enumerate(entry.shape) if any((o[d], s[d]) != (0, size) for o, s in at)]
    if len(cut) > _CUTS:
        return False
    corners: Counter[Shape] = Counter()
    for sign, (offsets, sizes) in ((-1, ((0,) * len(entry.shape), entry.shape)), *((1, box) for box in at)):
        for ends in itertools.product((0, 1), repeat=len(cut)):
            corner = tuple(offsets[d] + end * sizes[d] for d, end in zip(cut, ends, strict=True))
            corners[corner] += sign * (-1) ** sum(ends)
    return not any(corners.values())
