"""The values of a checkpoint, each with its dotted place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import nn

from bnlint.checkpoint.disassemble import DEEPEST
from bnlint.errors import InputError


def walk(content: object) -> Iterator[tuple[str, object]]:
    """Yield every dict, list, tuple and model of a checkpoint, in order; each once, and nothing inside a model.

    Raises:
        InputError: They lie in each other too deeply.
    """
    todo: list[tuple[str, object, int]] = [("", content, 0)]
    seen: set[int] = set()
    while todo:
        place, value, depth = todo.pop()
        if id(value) in seen or not isinstance(value, nn.Module | Mapping | list | tuple):
            continue
        seen.add(id(value))
        if depth > DEEPEST:
            raise InputError("its values are nested too deeply")
        yield place, value
        if not isinstance(value, nn.Module):
            items = list(value.items() if isinstance(value, Mapping) else enumerate(value))
            todo += [(f"{place}.{key}" if place else str(key), item, depth + 1) for key, item in reversed(items)]
