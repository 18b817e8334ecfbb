"""Remembers which graph node made a value: a tensor, or a Python number or array that was read out of one."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn


@dataclass(slots=True)
class _Entry:
    node: fx.Node
    tensor: Tensor  # kept alive, or its id and its memory could be given to another tensor
    since: int


class Memory:
    """Finds the node of a value by identity, then by the memory it shares, then (arrays) by content."""

    def __init__(self) -> None:
        self._tensors: dict[int, _Entry] = {}
        self._places: dict[Hashable, fx.Node] = {}
        self._writes: dict[Hashable, tuple[int, fx.Node]] = {}
        self._escapes: dict[int, tuple[Any, fx.Node, tuple[int, ...]]] = {}
        self._arrays: list[tuple[np.ndarray[Any, Any], fx.Node]] = []
        self._clock = 0

    def bind(self, tensor: Tensor, node: fx.Node) -> None:
        """Say that `node` now makes `tensor`."""
        self._tensors[id(tensor)] = _Entry(node, tensor, self._clock)
        place = _place(tensor)
        if place is not None:
            self._places[place] = node

    def node_of(self, tensor: Tensor) -> fx.Node | None:
        """Return the node that made this very tensor."""
        entry = self._tensors.get(id(tensor))
        return entry.node if entry else None

    def wrote(self, tensor: Tensor, node: fx.Node) -> None:
        """Say that `node` changed the memory of `tensor`, and so every tensor that shares it."""
        storage = _storage(tensor)
        if storage is not None:
            self._clock += 1
            self._writes[storage] = (self._clock, node)

    def writer_since(self, tensor: Tensor) -> fx.Node | None:
        """Return the last node that wrote to the memory of a bound `tensor` after it was bound."""
        entry = self._tensors[id(tensor)]
        clock, writer = self._writes.get(_storage(tensor), (0, None))
        return writer if clock > entry.since else None

    def alias_of(self, tensor: Tensor) -> fx.Node | None:
        """Return the node of a tensor with the same memory and layout, or of an array with the same content."""
        node = self._places.get(_place(tensor))
        if node is None and self._arrays and tensor.device.type == "cpu" and tensor.layout == torch.strided:
            node = self._array_node(tensor.detach().double().numpy()) if tensor.is_floating_point() else None
        return node

    def escaped(self, value: Any, node: fx.Node) -> None:
        """Say that `node` read the Python value `value` (number, list or array) out of a tensor."""
        if isinstance(value, np.ndarray):
            self._arrays.append((value, node))
        else:
            for part, path in _parts(value):
                self._escapes[id(part)] = (part, node, path)

    def escape_of(self, value: Any) -> tuple[fx.Node, tuple[int, ...]] | None:
        """Return the node that this very object (or a copy of this array) came out of, and the path to it inside."""
        if isinstance(value, np.ndarray):
            node = self._array_node(value)
            return (node, ()) if node else None
        known = self._escapes.get(id(value))
        return known[1:] if known else None

    def _array_node(self, array: np.ndarray[Any, Any]) -> fx.Node | None:
        for known, node in self._arrays:
            same = np.shares_memory(known, array) or (array.size > 1 and np.array_equal(known, array))
            if known.shape == array.shape and same:
                return node
        return None


def tensors_in(value: Any, depth: int = 8) -> list[Tensor]:
    """Return the tensors in containers and plain objects, in order and each once per place."""
    if isinstance(value, Tensor):
        return [value]
    if not depth or isinstance(value, (nn.Module, type)):
        return []
    items: list[Any] = []
    if isinstance(value, dict):
        items = list(value.values())
    elif isinstance(value, (list, tuple, set)):
        items = list(value)
    else:
        slots = [getattr(value, name, None) for name in getattr(type(value), "__slots__", ())]
        items = [*getattr(value, "__dict__", {}).values(), *slots]
    return [tensor for item in items for tensor in tensors_in(item, depth - 1)]


def _parts(value: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[Any, tuple[int, ...]]]:
    """Yield the floats and lists in a value that was read out of a tensor; small ints are shared by all of Python."""
    if isinstance(value, (float, list)):
        yield value, path
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _parts(item, (*path, index))


def _storage(tensor: Tensor) -> Hashable:
    try:
        pointer = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse, fake and functorch tensors have none
        return None
    return (tensor.device, pointer) if pointer else None


def _place(tensor: Tensor) -> Hashable:
    storage = _storage(tensor)
    if storage is None or not tensor.numel():
        return None
    return (storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)
