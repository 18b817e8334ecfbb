"""The files that an editor holds, with their unsaved text."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lsprotocol.types import Location, PositionEncodingKind

from bnlint.finding import SourceLocation
from bnlint.reader import Reader
from bnlint.server.lines import Lines


@dataclass(frozen=True, slots=True)
class Document:
    """One file that is open: the name that the editor has for it, its place, and the text at a version."""

    uri: str
    path: Path
    version: int
    text: str

    @property
    def content(self) -> bytes:
        """The bytes of the file if it were saved now; what its encoding cannot hold is one `?` each."""
        try:
            lines = self.text.encode("utf-8", "replace").splitlines()[:2]
            encoding, _ = tokenize.detect_encoding(io.BytesIO(b"\n".join(lines)).readline)
            return self.text.encode(encoding, "replace")
        except (SyntaxError, LookupError):
            return self.text.encode("utf-8", "replace")


@dataclass(frozen=True)
class Desk:
    """All files as the editor sees them: those that are open as they stand there, the others as they lie on the disk.

    `encoding` is that in which the editor counts columns.
    """

    documents: Mapping[Path, Document] = field(default_factory=dict)
    encoding: PositionEncodingKind = PositionEncodingKind.Utf16
    _lines: dict[Path, Lines] = field(default_factory=dict)

    @classmethod
    def of(cls, documents: Iterable[Document], encoding: PositionEncodingKind) -> Desk:
        """Lay open documents out."""
        return cls({document.path: document for document in documents}, encoding)

    @property
    def reader(self) -> Reader:
        """Reads these files."""
        return Reader({str(path): document.content for path, document in self.documents.items()})

    def uri(self, path: Path) -> str:
        """Return what the editor calls a file."""
        return self.documents[path].uri if path in self.documents else path.as_uri()

    def version(self, path: Path) -> int | None:
        """Return the version of an open file, None for another."""
        return self.documents[path].version if path in self.documents else None

    def location(self, location: SourceLocation) -> Location:
        """Return where a location is for the editor."""
        path = Path(location.path)
        if path not in self._lines:
            text = self.documents[path].text if path in self.documents else Reader().text(location)
            self._lines[path] = Lines.of(text or "", self.encoding)
        return Location(self.uri(path), self._lines[path].range(location))
