"""Where the code stands that is being run, told by whoever runs a graph node by node: there is no frame of it."""

from __future__ import annotations

import functools
import linecache
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from torch import fx

_ENTRY = re.compile(r'File "(?P<path>[^"]+)", line (?P<line>\d+), in (?P<function>.+)')

_GETATTR = re.compile(r"getattr\(([^()]*), '(\w+)'\)")
_ROOT = re.compile(r"L\['\w+'\]\.?")


class Frame(NamedTuple):
    """A place in user code; `span` is line, column, end line, end column of the call, columns in bytes from 0."""

    path: str
    line: int
    function: str
    span: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Place:
    """A place that was told: frames, innermost first, and the dotted path of the module within the one that runs."""

    frames: tuple[Frame, ...] = ()
    module: str = ""


_told: list[Place] = []


def told() -> Place | None:
    """Return the place of the code that runs now, None where Python's own frames say it."""
    return _told[-1] if _told else None


@contextmanager
def telling(place: Place) -> Iterator[None]:
    """Say that what runs inside stands at a place."""
    _told.append(place)
    try:
        yield
    finally:
        _told.pop()


def place_of(node: fx.Node) -> Place:
    """Return the place of a graph's node: as the recorder noted it, or as torch's exporters do."""
    if "frames" in node.meta:
        return Place(node.meta["frames"])
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(entry[0]) for entry in stack.values() if isinstance(entry, tuple)]
    return Place(_frames(node.meta.get("stack_trace") or ""), _path(paths[-1]) if paths else "")


def _path(told: str) -> str:
    """Return the path of a module, which older exporters wrote as the code that leads there."""
    while (path := _GETATTR.sub(r"\1.\2", told)) != told:
        told = path
    return _ROOT.sub("", told)


@functools.lru_cache(maxsize=4096)
def _frames(stack: str) -> tuple[Frame, ...]:
    entries = [(m["path"], int(m["line"]), m["function"].strip()) for m in _ENTRY.finditer(stack)]
    return tuple(line_frame(*entry) for entry in reversed(entries))


def line_frame(path: str, line: int, function: str) -> Frame:
    """Return the frame of a whole line, where that is all that is known."""
    text = linecache.getline(path, line).rstrip()
    start = len(text) - len(text.lstrip())
    return Frame(path, line, function, (line, start, line, max(len(text.encode()), start)))
