"""Source text as bytes, as characters, and by line and column."""

from __future__ import annotations

import ast
import codecs
import io
import re
import tokenize
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from bnlint.finding import Edit, Fix, SourceLocation

#: what ends a line of Python; a form feed or a Unicode separator does not
LINE_ENDS = re.compile(r"\r\n|\r|\n")
#: the bytes in which the line is that names an encoding
_HEAD = 1_000
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")


@dataclass(frozen=True)
class SourceText:
    """The characters of a file and what is needed to write the same bytes again."""

    text: str
    encoding: str
    bom: bytes

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The offsets at which lines start, and the end of the text."""
        lines = (match.end() - match.start() for match in _LINES.finditer(self.text))
        return tuple(accumulate(lines, initial=0))

    @classmethod
    def decode(cls, source: bytes) -> SourceText:
        """Decode a file by its BOM or coding line.

        Raises:
            SyntaxError: The coding line names no encoding that Python knows.
            UnicodeDecodeError: The bytes are not in the encoding that the file says.
        """
        bom = codecs.BOM_UTF8 if source.startswith(codecs.BOM_UTF8) else b""
        head = b"\n".join(source[:_HEAD].splitlines()[:2])
        encoding = tokenize.detect_encoding(io.BytesIO(head).readline)[0] if b"coding" in head else "utf-8"
        encoding = "utf-8" if encoding == "utf-8-sig" else encoding
        try:
            return cls(source[len(bom) :].decode(encoding), encoding, bom)
        except LookupError as error:  # Python knows `rot13`, but for other things than text
            raise SyntaxError(f"unknown encoding: {encoding}") from error

    @classmethod
    def of(cls, text: str, encoding: str = "utf-8", bom: bytes = b"") -> SourceText:
        """Take the characters as they are, whatever a coding line says."""
        return cls(text, encoding, bom)

    def encode(self, text: str) -> bytes:
        """Encode a changed text as the file was."""
        return self.bom + text.encode(self.encoding)

    def span(self, location: SourceLocation) -> tuple[int, int]:
        """Return the character offsets of a location."""
        return (
            self.starts[location.line - 1] + location.column - 1,
            self.starts[location.end_line - 1] + location.end_column - 1,
        )

    def locate(self, node: ast.expr, path: str) -> SourceLocation:
        """Return the location of a node of `ast`, which counts columns in bytes."""
        places = ((node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0))
        (line, column), (end_line, end_column) = (
            (row, len(self._line(row).encode()[:byte].decode(errors="ignore")) + 1) for row, byte in places
        )
        return SourceLocation(path, line, column, end_line, end_column)

    def _line(self, row: int) -> str:
        return self.text[self.starts[row - 1] : self.starts[row]]

    def at(self, location: SourceLocation) -> str:
        """Return the text of a location."""
        start, end = self.span(location)
        return self.text[start:end]


def compatible(fixes: Iterable[Fix]) -> list[Edit]:
    """Return the edits of every fix that changes no text which one before it changes in another way."""
    chosen: list[Edit] = []
    for fix in fixes:
        new = [edit for edit in fix.edits if edit not in chosen]
        if not any(_overlap(edit.location, other.location) for edit in new for other in chosen):
            chosen += new
    return chosen


def _overlap(one: SourceLocation, other: SourceLocation) -> bool:
    starts, ends = (((place.line, place.column) for place in (one, other)), (_end(place) for place in (one, other)))
    return max(starts) < min(ends)


def _end(place: SourceLocation) -> tuple[int, int]:
    return place.end_line, place.end_column


def apply(source: SourceText, edits: Iterable[Edit]) -> str:
    """Apply edits to a text; of two that overlap, the first wins, and an edit given twice is made once."""
    pieces: list[str] = []
    position = 0
    for edit in sorted(set(edits)):
        start, end = source.span(edit.location)
        if start < position:
            continue
        pieces += [source.text[position:start], edit.replacement]
        position = end
    return "".join([*pieces, source.text[position:]])


def parsed(text: str) -> ast.Module:
    """Parse a text as Python does, without its warnings.

    Raises:
        SyntaxError: It is no Python.
        ValueError: It holds a null byte.
        RecursionError: It is nested too deeply; so does MemoryError say.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)
