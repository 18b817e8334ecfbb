"""The plugin of flake8: what `bnlint check` says of a file, with the settings that are nearest to it."""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlint import __version__
from bnlint.errors import BnlintError
from bnlint.finding import Finding
from bnlint.settings import Settings
from bnlint.source.check import check_source
from bnlint.source.discover import is_excluded
from bnlint.source.project import Project
from bnlint.source.spelling import absolute


@dataclass(frozen=True, slots=True)
class _Run:
    """What the files of one run share."""

    settings: Settings
    project: Project


@functools.cache
def _run() -> _Run:
    settings = Settings({})
    return _Run(settings, Project(vocabulary=settings.vocabulary))


class Plugin:
    """Checks one file for flake8.

    Args:
        tree: Its syntax tree: flake8 calls plugins that ask for it once a file, and only where that parses.
        filename: What flake8 calls it; `stdin` for a text without a name.
        lines: Its lines.
    """

    name = "bnlint"
    version = __version__

    def __init__(self, tree: ast.AST, filename: str, lines: Sequence[str]) -> None:
        self._path, self._text = filename, "".join(lines)

    @classmethod
    def parse_options(cls, options: object) -> None:
        """Begin a run: configuration and files may have changed since another in this process."""
        _run.cache_clear()

    def run(self) -> Iterator[tuple[int, int, str, type[Plugin]]]:
        """Yield line, column from 0, and text of each finding."""
        try:
            findings = self._findings()
        except BnlintError as error:
            from flake8.exceptions import ExecutionError

            raise ExecutionError(f"{error} ({error.hint})" if error.hint else str(error)) from error
        for finding in findings:
            line, column, where = _place(finding, self._path)
            yield line, column - 1, f"{finding.code} {finding.message}{where}", type(self)

    def _findings(self) -> list[Finding]:
        settings, project = _run().settings, _run().project
        if is_excluded(Path(self._path), settings.excludes):
            return []
        found = [f for f in check_source(_encoded(self._text), self._path, project) if settings.wanted(f)]
        return [finding for finding in found if not _told_elsewhere(finding, self._path, project)]


def _told_elsewhere(finding: Finding, path: str, project: Project) -> bool:
    """Whether nothing of a finding is in the file, and the file that it is in says it too."""
    if not finding.places or any(place.path == path for place in finding.places):
        return False
    home = finding.places[0].path
    other = project.read(absolute(Path(home)))
    there = check_source(other.text.text.encode(), home) if other is not None else []
    return any((f.code, f.location, f.statistic) == (finding.code, finding.location, finding.statistic) for f in there)


def _place(finding: Finding, path: str) -> tuple[int, int, str]:
    """Return where in the file a finding is told: a stop in another file is told where it is used."""
    places = [finding.location, *(mark.location for mark in reversed(finding.marks))]
    own = next((place for place in places if place is not None and place.path == path), None)
    at = finding.location
    where = f" (it stops in {at.path}:{at.line})" if at is not None and at is not own else ""
    return (own.line, own.column, where) if own is not None else (1, 1, where)


def _encoded(text: str) -> bytes:
    """Return a text as the bytes of its file, in the encoding that it declares."""
    plain = text.encode(errors="surrogateescape")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(plain).readline)
        return text.encode(encoding)
    except (SyntaxError, UnicodeError, LookupError):
        return plain
