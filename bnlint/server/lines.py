"""Text as editors count it: by lines from 0, and by units of an encoding within a line."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from lsprotocol.types import Position, PositionEncodingKind, Range, TextDocumentContentChangeEvent, TextEdit

from bnlint.finding import SourceLocation
from bnlint.source.text import LINE_ENDS

#: how many bytes a unit has, and the encoding that these bytes are of
_UNITS = {
    PositionEncodingKind.Utf8: (1, "utf-8"),
    PositionEncodingKind.Utf16: (2, "utf-16-le"),
    PositionEncodingKind.Utf32: (4, "utf-32-le"),
}


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a text, each with its end; the last one, which may be empty, has none."""

    all: tuple[str, ...]
    starts: tuple[int, ...]
    encoding: PositionEncodingKind

    @classmethod
    def of(cls, text: str, encoding: PositionEncodingKind = PositionEncodingKind.Utf16) -> Lines:
        """Split a text where the protocol and Python do: a form feed or a Unicode separator ends no line."""
        ends = [0, *(match.end() for match in LINE_ENDS.finditer(text)), len(text)]
        lines = tuple(text[start:end] for start, end in pairwise(ends))
        return cls(lines, tuple(accumulate(map(len, lines), initial=0)), encoding)

    def position(self, row: int, column: int) -> Position:
        """Return the position of a row and a character, both from 0; beyond the text it is the nearest one."""
        if row >= len(self.all):
            return self.position(len(self.all) - 1, len(self.all[-1]))
        before = LINE_ENDS.sub("", self.all[row])[:column]
        size, name = _UNITS[self.encoding]
        return Position(row, len(before.encode(name, "surrogatepass")) // size)

    def range(self, location: SourceLocation) -> Range:
        """Return the range of a location, which counts lines and characters from 1."""
        start = self.position(location.line - 1, location.column - 1)
        return Range(start, self.position(location.end_line - 1, location.end_column - 1))

    def offset(self, position: Position) -> int:
        """Return how many characters of the text come before a position."""
        if position.line >= len(self.all):
            return self.starts[-1]
        size, name = _UNITS[self.encoding]
        line = LINE_ENDS.sub("", self.all[position.line])
        before = line.encode(name, "surrogatepass")[: position.character * size]
        return self.starts[position.line] + len(before.decode(name, "ignore"))


def changed(text: str, changes: Sequence[TextDocumentContentChangeEvent], encoding: PositionEncodingKind) -> str:
    """Return a text after the changes that an editor tells, one after the other."""
    for change in changes:
        where = getattr(change, "range", None)
        if where is None:
            text = change.text
        else:
            lines = Lines.of(text, encoding)
            text = text[: lines.offset(where.start)] + change.text + text[lines.offset(where.end) :]
    return text


def edits(before: str, after: str, encoding: PositionEncodingKind) -> list[TextEdit]:
    """Return the edits, of whole lines, that turn one text into another."""
    old, new = Lines.of(before, encoding), Lines.of(after, encoding)
    matcher = difflib.SequenceMatcher(None, old.all, new.all)
    return [
        TextEdit(Range(old.position(start, 0), old.position(end, 0)), "".join(new.all[new_start:new_end]))
        for kind, start, end, new_start, new_end in matcher.get_opcodes()
        if kind != "equal"
    ]
