"""The text behind findings: what reports quote, and what a fix would make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bnlint.finding import Edit, Finding, Fix, SourceLocation

if TYPE_CHECKING:  # a clean run quotes nothing
    from bnlint.source.notebook_file import NotebookFile
    from bnlint.source.text import SourceText


@dataclass(frozen=True)
class Reader:
    """Reads each source file once; `given` holds the content of files that are not to be read from the disk."""

    given: Mapping[str, bytes] = field(default_factory=dict)
    _read: dict[str, SourceText | None] = field(default_factory=dict)

    def text(self, location: SourceLocation) -> str | None:
        """Return the text of the file, or cell of a notebook, that a location is in; None if it cannot be read."""
        source = self._source(location)
        return source.text if source else None

    def at(self, location: SourceLocation | None) -> str:
        """Return the text of a location, "" where it cannot be read or is not there any more."""
        source = self._source(location) if location else None
        if source is None or location is None or location.end_line >= len(source.starts):
            return ""
        return source.at(location)

    def fixed(self, fix: Fix) -> tuple[str, str] | None:
        """Return the text of the one file or cell that a fix changes, before and after; None if it cannot be told."""
        places = {edit.location.place: edit.location for edit in fix.edits}
        where = places.popitem()[1] if len(places) == 1 else None
        source = self._source(where) if where is not None else None
        if source is None or where is None:
            return None
        if where.cell is not None:
            from bnlint.source.notebook import edited

            return source.text, edited(source.text, fix.edits)
        if any(edit.location.end_line >= len(source.starts) for edit in fix.edits):
            return None
        from bnlint.source.text import apply

        return source.text, apply(source, fix.edits)

    def in_file(self, finding: Finding) -> Finding:
        """Return a finding of a notebook with places in its file instead of in its cells: for those who read JSON."""

        def place(location: SourceLocation) -> SourceLocation:
            file = self._notebook(location)
            return file.at(location) if file is not None else location

        def edit(each: Edit) -> Edit:
            file = self._notebook(each.location)
            return file.edit(each) if file is not None else each

        fix = finding.fix
        return replace(
            finding,
            location=place(finding.location) if finding.location is not None else None,
            marks=tuple(replace(mark, location=place(mark.location)) for mark in finding.marks),
            fix=replace(fix, edits=tuple(edit(each) for each in fix.edits)) if fix is not None else None,
        )

    def _notebook(self, location: SourceLocation) -> NotebookFile | None:
        """Return the notebook that a location in a cell is in."""
        from bnlint.source.notebook_file import NotebookFile

        content = self._content(location.path) if location.cell is not None else None
        return NotebookFile.of(content, location.path) if content is not None else None

    def _source(self, location: SourceLocation) -> SourceText | None:
        if location.place not in self._read:
            self._read[location.place] = self._read_source(location)
        return self._read[location.place]

    def _read_source(self, location: SourceLocation) -> SourceText | None:
        from bnlint.source.cells import read_notebook
        from bnlint.source.text import SourceText

        content = self._content(location.path)
        try:
            if content is None or location.cell is None:
                return SourceText.decode(content) if content is not None else None
            cell = read_notebook(content, location.path).cell(location)
            return SourceText.of(cell.text) if cell is not None else None
        except (ValueError, SyntaxError):
            return None

    def _content(self, path: str) -> bytes | None:
        try:
            return self.given[path] if path in self.given else Path(path).read_bytes()
        except (OSError, ValueError):
            return None
