"""The syntax trees that were read last: as many as there is room for."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

Tree = TypeVar("Tree")


def recent(limit: int) -> Callable[[Callable[[str, str], Tree]], Callable[[str, str], Tree]]:
    """Return a decorator that keeps what a function of a text and a path gave for the texts that were asked for last.

    Args:
        limit: The characters of all texts together; the last text is always kept.
    """

    def decorate(read: Callable[[str, str], Tree]) -> Callable[[str, str], Tree]:
        kept: dict[tuple[str, str], Tree] = {}

        @functools.wraps(read)
        def remembered(text: str, path: str) -> Tree:
            key = text, path
            kept[key] = kept.pop(key) if key in kept else read(text, path)
            size = sum(len(each) for each, _ in kept)
            while size > limit and len(kept) > 1:
                oldest = next(iter(kept))
                size -= len(oldest[0])
                del kept[oldest]
            return kept[key]

        return remembered

    return decorate
