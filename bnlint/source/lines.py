"""Lines of source text that move in or out by one level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import nodes


@dataclass(frozen=True, slots=True)
class Run:
    """Lines from first to last, and whether they stay under a header such as `with torch.no_grad():`."""

    first: int
    last: int
    stays: bool


@dataclass(frozen=True, slots=True)
class Indented:
    """Runs of lines to be moved.

    Attributes:
        text: The file.
        path: What locations call it.
        runs: The lines.
        strings: Lines that start inside a string: their indentation is part of its value.
        header: What stands above lines that stay, with its newline.
        outer: How the header is indented.
    """

    text: SourceText
    path: str
    runs: Sequence[Run]
    strings: set[int]
    header: str
    outer: str

    def dedented(self, inner: str) -> Iterator[Edit]:
        """Move the lines out that do not stay, from the indentation `inner`; those that stay get the header again."""
        for run, starts in self._groups():
            if run.stays and starts:
                indent = self._replaced(self._indent(run), inner)
                yield self._insert(self._top(run), indent + self.header[len(self.outer) :])
            elif not run.stays:
                for number, line in self._lines(run):
                    if line.startswith(inner):
                        yield Edit(SourceLocation(self.path, number, 1, number, len(inner) + 1), self.outer)

    def indented(self, unit: str) -> Iterator[Edit]:
        """Move the lines in by one level that stay, under a header."""
        for run, starts in self._groups():
            for number, line in self._lines(run) if run.stays else ():
                above = self._indent(run) + self.header if starts and number == self._top(run) else ""
                yield self._insert(number, above + (unit if line.strip() else ""))

    def _groups(self) -> Iterator[tuple[Run, bool]]:
        """Yield each run, and whether it is the first of several that stay."""
        before = False
        for run in self.runs:
            yield run, not before
            before = run.stays

    def _lines(self, run: Run) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(lines(self.text, run.first, run.last), run.first):
            if number not in self.strings:
                yield number, line

    def _indent(self, run: Run) -> str:
        code = (line for _, line in self._lines(run) if line.strip() and not line.lstrip().startswith("#"))
        return indent_of(next(code, ""))

    def _top(self, run: Run) -> int:
        """Return the first line of a run that is not empty."""
        return next(number for number, line in self._lines(run) if line.strip())

    def _replaced(self, indent: str, inner: str) -> str:
        return self.outer + indent[len(inner) :]

    def _insert(self, line: int, content: str) -> Edit:
        return Edit(SourceLocation(self.path, line, 1, line, 1), content)


def lines(text: SourceText, first: int, last: int) -> list[str]:
    """Return lines with their newlines."""
    return [text.text[text.starts[n - 1] : text.starts[n]] for n in range(first, last + 1)]


def indent_of(line: str) -> str:
    """Return the spaces and tabs that a line starts with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def newline_of(text: SourceText) -> str:
    """Return the newline of the first line."""
    first = lines(text, 1, 1)[0]
    return first[len(first.rstrip("\r\n")) :] or "\n"


def at(inner: SourceLocation, outer: SourceLocation) -> bool:
    """Whether a place lies within another one."""
    start, end = (inner.line, inner.column), (inner.end_line, inner.end_column)
    return (outer.line, outer.column) <= start and end <= (outer.end_line, outer.end_column)


def inside_strings(parsed: Parsed, body: cst.CSTNode) -> set[int]:
    """Return the lines that start inside a string."""
    strings = [parsed.locate(n) for n in nodes(body) if isinstance(n, (cst.SimpleString, cst.FormattedString))]
    return {line for where in strings for line in range(where.line + 1, where.end_line + 1)}
