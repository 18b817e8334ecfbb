"""The text behind findings: what reports quote, and what a fix would make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bnlint.finding import Fix, SourceLocation
from bnlint.source.text import SourceText, apply


@dataclass(frozen=True)
class Reader:
    """Reads each source file once; `given` holds the content of files that are not to be read from the disk."""

    given: Mapping[str, bytes] = field(default_factory=dict)
    _read: dict[str, SourceText | None] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        """Return the text of a file, None where it cannot be read."""
        source = self._source(path)
        return source.text if source else None

    def at(self, location: SourceLocation | None) -> str:
        """Return the text of a location, "" where it cannot be read or is not there any more."""
        source = self._source(location.path) if location else None
        if source is None or location is None or location.end_line >= len(source.starts):
            return ""
        return source.at(location)

    def fixed(self, fix: Fix) -> tuple[str, str] | None:
        """Return the text of the one file that a fix changes, before and after; None where it cannot be told."""
        paths = {edit.location.path for edit in fix.edits}
        source = self._source(paths.pop()) if len(paths) == 1 else None
        if source is None or any(edit.location.end_line >= len(source.starts) for edit in fix.edits):
            return None
        return source.text, apply(source, fix.edits)

    def _source(self, path: str) -> SourceText | None:
        if path not in self._read:
            try:
                content = self.given[path] if path in self.given else Path(path).read_bytes()
                self._read[path] = SourceText.decode(content)
            except (OSError, ValueError, SyntaxError):
                self._read[path] = None
        return self._read[path]
