"""The values of a checkpoint, each with its dotted place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn


def walk(content: object) -> Iterator[tuple[str, object]]:
    """Yield every dict, list, tuple and model of a checkpoint, in order; each once, and nothing inside a model."""
    todo: list[tuple[str, object]] = [("", content)]
    seen: set[int] = set()
    while todo:
        place, value = todo.pop()
        if id(value) in seen or not isinstance(value, nn.Module | Mapping | list | tuple):
            continue
        seen.add(id(value))
        yield place, value
        if not isinstance(value, nn.Module):
            items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            todo += [(f"{place}.{key}" if place else str(key), item) for key, item in reversed(items)]
