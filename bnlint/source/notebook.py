"""A notebook as one module: its cells of Python behind one another, and the way from there to a cell and back."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from bnlint.finding import Edit, Finding, SourceLocation
from bnlint.source.text import LINE_ENDS, SourceText

#: two empty lines: a coding line in the first cell is none of the module, whose text is Unicode
_HEAD = "\n\n"


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell.

    Attributes:
        number: Its place among all cells of the notebook, from 1.
        text: Its source.
        python: The same with nothing in it but Python, on the same lines.
        defines: The functions and classes that it defines.
    """

    number: int
    text: str
    python: str
    defines: frozenset[str] = frozenset()

    @property
    def lines(self) -> int:
        """How many lines it has."""
        return _last(self.text)

    @property
    def piece(self) -> str:
        """Its part of the module: an empty line behind it takes what is inserted behind its last line."""
        return self.python + "\n" * (1 if self.text.endswith("\n") else 2)


@dataclass(frozen=True)
class Notebook:
    """The code cells of a notebook.

    Attributes:
        path: What locations call it.
        cells: Its code cells; of one in another language, or one that does not parse, only empty lines are Python.
        broken: What cannot be read of it.
    """

    path: str
    cells: tuple[Cell, ...] = ()
    broken: tuple[Finding, ...] = ()

    @cached_property
    def module(self) -> str:
        """The text of the module."""
        return "".join([_HEAD, *(cell.piece for cell in self.cells)])

    def earlier(self) -> Iterator[str]:
        """Yield the module as far as it goes before each cell that defines anew what one before it does.

        Of two definitions with one name a module means the last; in a notebook the first had its time.
        """
        text, defined = [_HEAD], set[str]()
        for cell in self.cells:
            if not defined.isdisjoint(cell.defines):
                yield "".join(text)
            text.append(cell.piece)
            defined |= cell.defines

    @cached_property
    def _above(self) -> list[int]:
        """How many lines of the module are above each cell."""
        above = [len(_HEAD)]
        for cell in self.cells:
            above.append(above[-1] + len(LINE_ENDS.findall(cell.piece)))
        return above

    @cached_property
    def _index(self) -> Mapping[int | None, int]:
        return {cell.number: index for index, cell in enumerate(self.cells)}

    def cell(self, location: SourceLocation) -> Cell | None:
        """Return the code cell that a location names."""
        index = self._index.get(location.cell)
        return None if index is None else self.cells[index]

    def outward(self, location: SourceLocation) -> SourceLocation:
        """Turn a place in the module to one in the cell that it starts in."""
        if location.path != self.path or location.cell is not None or not self.cells:
            return location
        index = min(max(bisect_right(self._above, location.line - 1) - 1, 0), len(self.cells) - 1)
        line, end = (max(each - self._above[index], 1) for each in (location.line, location.end_line))
        return replace(location, cell=self.cells[index].number, line=line, end_line=end)

    def inward(self, location: SourceLocation) -> SourceLocation:
        """Turn a place in a cell to one in the module."""
        index = self._index.get(location.cell)
        if index is None or location.path != self.path:
            return location
        above = self._above[index]
        return replace(location, cell=None, line=location.line + above, end_line=location.end_line + above)

    def told(self, finding: Finding) -> Finding:
        """Turn all places of a finding outward; a fix that does not fit into the cells is left out."""
        fix = finding.fix
        if fix is not None:
            edits = tuple(replace(edit, location=self.outward(edit.location)) for edit in fix.edits)
            fix = replace(fix, edits=edits) if all(self._fits(edit) for edit in edits) else None
        return replace(
            finding,
            location=self.outward(finding.location) if finding.location is not None else None,
            marks=tuple(replace(mark, location=self.outward(mark.location)) for mark in finding.marks),
            fix=fix,
        )

    def _fits(self, edit: Edit) -> bool:
        """Whether an edit stays in its cell, and away from what is not Python there."""
        cell, where = self.cell(edit.location), edit.location
        if cell is None or not cell.python.strip() or where.end_line > cell.lines + 1:
            return False
        lines = list(zip(LINE_ENDS.split(cell.text), LINE_ENDS.split(cell.python), strict=True))
        for number, (line, python) in enumerate(lines[where.line - 1 : where.end_line], where.line):
            common = next((at for at, pair in enumerate(zip(line, python, strict=False)) if pair[0] != pair[1]), 0)
            before = number == where.end_line and where.end_column - 1 <= common and not line.startswith("%%")
            if line != python and not before:
                return False
        return True


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Apply edits to the source of a cell."""
    pieces: list[str] = []
    done = 0
    for edit in sorted(set(edits)):
        start, end, replacement = clipped(text, edit)
        if start >= done:
            pieces += [text[done:start], replacement]
            done = end
    return "".join([*pieces, text[done:]])


def span(text: str, where: SourceLocation) -> tuple[int, int]:
    """Return the offsets of a place in the source of a cell; what is behind its last line is its end."""
    starts, last = SourceText.of(text).starts, _last(text)
    return (
        min(starts[where.line - 1] + where.column - 1, len(text)) if where.line <= last else len(text),
        min(starts[where.end_line - 1] + where.end_column - 1, len(text)) if where.end_line <= last else len(text),
    )


def clipped(text: str, edit: Edit) -> tuple[int, int, str]:
    """Return the offsets of an edit in the source of a cell, and the replacement.

    Few cells end in a newline: one that does not will not after an edit of its last line either.
    """
    where, replacement = edit.location, edit.replacement
    start, end = span(text, where)
    if where.end_line <= _last(text) or not text or text.endswith(("\n", "\r")):
        return start, end, replacement
    if replacement.endswith("\n"):
        newline = "\r\n" if replacement.endswith("\r\n") else "\n"
        return start, end, newline * (where.line > _last(text)) + replacement.removesuffix(newline)
    if not replacement and where.column == 1 and 1 < where.line <= _last(text):
        start -= len(LINE_ENDS.findall(text, 0, start)[-1])
    return start, end, replacement


def _last(text: str) -> int:
    return 1 + len(LINE_ENDS.findall(text))
