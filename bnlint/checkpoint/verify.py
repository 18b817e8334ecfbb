"""Compare what was written with what was meant: types, structure, every bit of every tensor, and who shares memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn

from bnlint.errors import InputError

_PLAIN = (str, bytes, bytearray, int, complex, bool, type(None), torch.Size, torch.dtype, torch.device)
#: how many bytes are compared at once
_CHUNK = 1 << 26
_OF_MODULES = ("training", "_parameters", "_buffers", "_modules")


def require_same(ours: object, theirs: object, where: str) -> None:
    """Demand that a checkpoint reads back as it was written.

    Raises:
        InputError: It does not; names the first difference.
    """
    todo: list[tuple[str, Any, Any]] = [("", ours, theirs)]
    seen: set[tuple[int, int]] = set()
    storages: dict[int, int] = {}
    while todo:
        place, mine, read = todo.pop()
        if (id(mine), id(read)) in seen:
            continue
        seen.add((id(mine), id(read)))
        if not _alike(mine, read, storages):
            raise InputError(f"`{place or 'the file'}` does not read back as it was written", where=where)
        inside = [(f"{place}.{name}" if place else name, *pair) for name, *pair in _inside(mine, read)]
        todo += reversed(inside)


def _alike(mine: Any, read: Any, storages: dict[int, int]) -> bool:
    # A class that stands in for one of the file may be made again for each reading: its name is what is written.
    if type(mine).__qualname__ != type(read).__qualname__:
        return False
    if isinstance(mine, Tensor):
        return _same_tensor(mine, read, storages)
    if isinstance(mine, Mapping):
        return [str(key) for key in mine] == [str(key) for key in read]
    if isinstance(mine, list | tuple):
        return len(mine) == len(read)
    if isinstance(mine, float):
        return bool(mine.hex() == read.hex())
    return not isinstance(mine, _PLAIN) or bool(mine == read)


def _inside(mine: Any, read: Any) -> list[tuple[str, Any, Any]]:
    if isinstance(mine, Mapping):
        return [(str(key), value, other) for (key, value), other in zip(mine.items(), read.values(), strict=True)]
    if isinstance(mine, list | tuple):
        return [(str(at), *pair) for at, pair in enumerate(zip(mine, read, strict=True))]
    if isinstance(mine, nn.Module):
        return [(name, getattr(mine, name), getattr(read, name)) for name in _OF_MODULES]
    return []


def _same_tensor(mine: Tensor, read: Tensor, storages: dict[int, int]) -> bool:
    if (mine.dtype, mine.shape, mine.layout, mine.requires_grad) != (
        read.dtype,
        read.shape,
        read.layout,
        read.requires_grad,
    ):
        return False
    if mine.is_meta or mine.layout != torch.strided:
        return bool(mine.is_meta == read.is_meta and (mine.is_meta or torch.equal(mine, read)))
    if (mine.stride(), mine.storage_offset()) != (read.stride(), read.storage_offset()):
        return False
    ours, theirs = mine.untyped_storage(), read.untyped_storage()
    if ours._cdata in storages:
        return bool(storages[ours._cdata] == theirs._cdata)
    storages[ours._cdata] = theirs._cdata
    return same_bytes(ours, theirs)


def same_bytes(ours: UntypedStorage, theirs: UntypedStorage) -> bool:
    """Whether two memories hold the same bits."""
    if ours.nbytes() != theirs.nbytes():
        return False
    mine, read = (torch.empty(0, dtype=torch.uint8, device=s.device).set_(s) for s in (ours, theirs))
    words = mine.numel() // 8 * 8  # eight bytes at once are compared eight times as fast
    parts = [slice(start, min(start + _CHUNK, words)) for start in range(0, words, _CHUNK)]
    return torch.equal(mine[words:].cpu(), read[words:].cpu()) and all(
        torch.equal(mine[part].view(torch.int64).cpu(), read[part].view(torch.int64).cpu()) for part in parts
    )
