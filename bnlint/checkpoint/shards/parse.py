"""Reading the `.metadata` of a folder of `torch.distributed.checkpoint`.

It is a pickle, which torch unpickles without a list. Here it is taken apart and read like a text: nothing in it is run.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bnlint.checkpoint.disassemble import Node, disassemble
from bnlint.checkpoint.kinds import METADATA
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.shards.index import Entry, Index, Part, Place, Shape, require_fitting
from bnlint.checkpoint.trust import printable
from bnlint.errors import InputError, UntrustedError

_OWN = "torch.distributed."
_CLASSES = frozenset(
    {
        "BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
        "TensorStorageMetadata", "_MEM_FORMAT_ENCODING", "_StorageInfo",
    }
)  # fmt: skip
_PLAIN = frozenset({"torch.Size", "torch.serialization._get_layout", "pathlib.PosixPath", "pathlib.WindowsPath"})
_PLAIN |= {"pathlib._local.PosixPath", "pathlib._local.WindowsPath"}  # as Python 3.13 calls them
_AGAIN = "copy or download all of the folder again"


def read_index(file: Path) -> Index:
    """Read an index and hold it against the files beside it; nothing in it is run.

    Raises:
        InputError: It is damaged, a file is missing, or it leads out of its folder.
    """
    try:
        with file.open("rb") as opened, bounded(file.stat().st_size):
            program = disassemble(opened)
        index = _index(program.result, program.globals)
        require_fitting(index, file.parent)
    except (ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        reason = printable(f"its {METADATA} is not as torch writes it: {error or type(error).__name__}")
        raise InputError(f"damaged: {reason}", where=str(file.parent), hint=_AGAIN) from error
    return index


def require_harmless(index: Index, folder: Path) -> None:
    """Refuse an index that names what torch does not write into one: bnlint calls none of it, but torch would.

    Raises:
        UntrustedError: It does.
    """
    foreign = [name for name in index.globals if not known(name)]
    if foreign:
        names = "\n".join(f"  {printable(name)}" for name in foreign)
        what = f"its {METADATA} names what torch does not write there; nothing in it was run:\n{names}"
        hint = "do not load the folder, with torch neither, unless you know why it has them"
        raise UntrustedError(what, where=str(folder), hint=hint)


def known(name: str) -> bool:
    """Whether torch itself writes this global into an index."""
    module, _, last = name.rpartition(".")
    dtype = module == "torch" and isinstance(getattr(torch, last, None), torch.dtype)
    return dtype or name in _PLAIN or (module.startswith(_OWN) and last in _CLASSES)


def _index(root: Any, names: Sequence[str]) -> Index:
    fields = _fields(root, "Metadata")
    stored: dict[tuple[str, Shape | None], Part] = {}
    for key, value in _items(fields["storage_data"]):
        part = _part(_fields(value, "_StorageInfo"))
        at = _fields(key, "MetadataIndex")
        offset = at.get("offset")
        stored[_text(at["fqn"]), None if offset is None else _shape(offset)] = part
    places = dict(_items(fields.get("planner_data")) if fields.get("planner_data") is not None else ())
    entries: dict[str, Entry] = {}
    for key, node in _items(fields["state_dict_metadata"]):
        name = _text(key)
        place = _place(places[name]) if name in places else (name,)
        if _is(node, "BytesStorageMetadata"):
            entries[name] = Entry(name, place, (stored.pop((name, None)),))
        else:
            entries[name] = _tensor(name, place, node, stored)
    version = fields.get("version")
    return Index(entries, version if isinstance(version, str) else None, tuple(names))


def _tensor(name: str, place: Place, node: Any, stored: dict[tuple[str, Shape | None], Part]) -> Entry:
    fields = _fields(node, "TensorStorageMetadata")
    properties = fields["properties"]
    if not _is(properties, "TensorProperties"):
        raise ValueError(f"what `{name}` is made of is not told")
    dtype, _layout, requires_grad, *_ = properties.state[-1].args
    chunks = []
    for chunk in _of(fields["chunks"], "list"):
        at = _fields(chunk, "ChunkStorageMetadata")
        offsets, sizes = _shape(at["offsets"]), _shape(at["sizes"])
        if math.prod(sizes):  # processes that had nothing to write may all say so at one place
            part = stored.pop((name, offsets))  # each is there once: a list that is met again cannot multiply
            chunks.append(Part(part.file, part.start, part.length, offsets, sizes))
    return Entry(name, place, tuple(chunks), _dtype(dtype), _shape(fields["size"]), requires_grad is True)


def _part(fields: Mapping[str, Any]) -> Part:
    if _of(fields.get("transform_descriptors") or Node("list"), "list", "tuple"):
        raise ValueError("its files are compressed, which is not read")
    file, (start, length) = _text(fields["relative_path"]), _numbers((fields["offset"], fields["length"]))
    if file in (".", "..") or set(file) & set("/\\:\0") or not file:
        raise ValueError(f"the name `{file}` leads out of the folder")
    return Part(file, start, length)


def _is(node: Any, name: str) -> bool:
    """Whether a node is an object of one of torch's classes."""
    head = node.args[0] if isinstance(node, Node) and node.kind == "call" and node.args else None
    return isinstance(head, Node) and head.name.startswith(_OWN) and head.name.rpartition(".")[2] == name


def _fields(node: Any, name: str) -> dict[str, Any]:
    if not _is(node, name):
        raise ValueError(f"something stands in the place of a {name}")
    return {_text(key): value for key, value in _items(node.state[-1])}


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    args = _of(node, "dict")
    return zip(args[::2], args[1::2], strict=True)


def _of(node: Any, *kinds: str) -> list[Any]:
    if not isinstance(node, Node) or node.kind not in kinds:
        raise ValueError(f"something stands in the place of a {kinds[0]}")
    return node.args


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("something stands in the place of a name")
    return value


def _numbers(values: Sequence[Any]) -> Shape:
    if any(type(value) is not int or not 0 <= value < 1 << 62 for value in values):
        raise ValueError("something stands in the place of a size")
    return tuple(values)


def _shape(node: Any) -> Shape:
    if not (isinstance(node, Node) and node.kind == "call" and node.args[0].name == "torch.Size"):
        raise ValueError("something stands in the place of a size")
    return _numbers(_of(node.args[1], "tuple", "list"))


def _place(node: Any) -> Place:
    keys = tuple(_of(node, "tuple", "list"))
    if not keys or not isinstance(keys[0], str) or any(type(key) not in (str, int) for key in keys):
        raise ValueError("something stands in the place of a way to a value")
    return keys


def _dtype(node: Any) -> torch.dtype:
    module, _, last = node.name.rpartition(".")
    dtype = getattr(torch, last, None) if module == "torch" else None
    if not isinstance(dtype, torch.dtype):
        raise ValueError(f"torch {torch.__version__} has no type `{node.name}`")
    return dtype
