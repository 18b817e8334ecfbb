"""The file of a notebook: JSON, of which an edit changes no byte but those of the lines that it is about."""

from __future__ import annotations

import codecs
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from bnlint.finding import Edit, SourceLocation
from bnlint.source.notebook import clipped, span
from bnlint.source.text import SourceText, apply

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SPACE = re.compile(r"[ \t\r\n]*")
_UNIT = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\.|[^\\]", re.DOTALL)
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True, slots=True)
class Literal:
    """A string as the file spells it: where each of its characters starts, and where the last one ends."""

    value: str
    offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spelled:
    """The source of a cell in the file: one string, or a list of strings, with what stands between two of them."""

    literals: tuple[Literal, ...]
    between: str | None

    @property
    def text(self) -> str:
        """The source."""
        return "".join(literal.value for literal in self.literals)

    def start(self, position: int) -> int:
        """Return where in the file the character behind a position in the source starts."""
        for literal in self.literals:
            if position < len(literal.value):
                return literal.offsets[position]
            position -= len(literal.value)
        return self.literals[-1].offsets[-1]

    def end(self, position: int) -> int:
        """Return where in the file the character before a position in the source ends."""
        for literal in self.literals:
            if position <= len(literal.value):
                return literal.offsets[position]
            position -= len(literal.value)
        return self.literals[-1].offsets[-1]


@dataclass(frozen=True)
class NotebookFile:
    """The file of a notebook that could be read."""

    path: str
    file: SourceText

    @classmethod
    def of(cls, source: bytes, path: str) -> NotebookFile:
        """Take the bytes of a notebook."""
        return cls(path, decoded(source))

    @cached_property
    def _starts(self) -> list[int]:
        """Where in the file each cell starts."""
        top = _members(self.file.text, _skip(self.file.text, 0))
        if "cells" in top:
            return list(_items(self.file.text, top["cells"]))
        sheets = (_members(self.file.text, start) for start in _items(self.file.text, top["worksheets"]))
        return [start for sheet in sheets if "cells" in sheet for start in _items(self.file.text, sheet["cells"])]

    def spelled(self, number: int) -> Spelled:
        """Return the source of a code cell as the file spells it."""
        text = self.file.text
        members = _members(text, self._starts[number - 1])
        start = members["source"] if "source" in members else members["input"]
        if text[start] == '"':
            return Spelled((_literal(text, start),), None)
        starts = list(_items(text, start))
        literals = tuple(_literal(text, each) for each in starts)
        if len(starts) > 1:
            return Spelled(literals, text[literals[0].offsets[-1] + 1 : starts[1]])
        return Spelled(literals, "," + text[start + 1 : starts[0]] if starts else "")

    def at(self, location: SourceLocation) -> SourceLocation:
        """Turn a place in a cell to the place in the file."""
        spelled = self.spelled(location.cell or 1)
        start, end = span(spelled.text, location)
        return self._location(spelled.start(start), spelled.end(end) if end > start else spelled.start(start))

    def edit(self, edit: Edit) -> Edit:
        """Turn an edit of a cell to an edit of the file: in a list of strings each line gets its own."""
        spelled = self.spelled(edit.location.cell or 1)
        text = spelled.text
        start, end, replacement = clipped(text, edit)
        first = spelled.start(start)
        last = spelled.start(end) if end > start else first
        raw = self.file.text[spelled.literals[0].offsets[0] : spelled.literals[-1].offsets[-1]]
        ascii_only = raw.isascii() and (self.file.text.isascii() or not text.isascii())
        lines = [json.dumps(line, ensure_ascii=ascii_only)[1:-1] for line in _LINE.findall(replacement)]
        if spelled.between is not None and replacement:
            added_below = start == len(text) and text.endswith("\n")
            goes_on = end < len(text) and replacement.endswith("\n")
            lines = [*([""] * added_below), *lines, *([""] * goes_on)]
        between = "" if spelled.between is None else f'"{spelled.between}"'
        return Edit(self._location(first, last), between.join(lines))

    def edited(self, edits: Iterable[Edit]) -> bytes:
        """Return the file with its cells edited."""
        return self.file.encode(apply(self.file, [self.edit(edit) for edit in set(edits)]))

    def _location(self, start: int, end: int) -> SourceLocation:
        (line, column), (end_line, end_column) = (
            (row, offset - self.file.starts[row - 1] + 1)
            for offset in (start, end)
            for row in (bisect_right(self.file.starts, offset, hi=len(self.file.starts) - 1),)
        )
        return SourceLocation(self.path, line, column, end_line, end_column)


def decoded(source: bytes) -> SourceText:
    """Decode the bytes of a notebook.

    Raises:
        UnicodeDecodeError: They are not UTF-8.
    """
    bom = codecs.BOM_UTF8 if source.startswith(codecs.BOM_UTF8) else b""
    return SourceText.of(source[len(bom) :].decode(), "utf-8", bom)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space is not None else at


def _members(text: str, at: int) -> dict[str, int]:
    """Return where the value of each key of an object starts."""
    members: dict[str, int] = {}
    at = _skip(text, at + 1)
    while text[at] != "}":
        key, at = _decode(text, at)
        at = _skip(text, _skip(text, at) + 1)
        members[key] = at
        at = _behind(text, at)
    return members


def _items(text: str, at: int) -> Iterator[int]:
    """Yield where each item of a list starts."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        yield at
        at = _behind(text, at)


def _behind(text: str, at: int) -> int:
    """Skip a value and the comma behind it."""
    _, at = _decode(text, at)
    at = _skip(text, at)
    return _skip(text, at + 1) if text[at] == "," else at


def _literal(text: str, start: int) -> Literal:
    value, end = _decode(text, start)
    offsets = [unit.start() for unit in _UNIT.finditer(text, start + 1, end - 1)]
    return Literal(value, (*offsets, end - 1))
