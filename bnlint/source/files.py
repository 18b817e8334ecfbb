"""Files around the static check: read them, look them up in the cache, check those that are new."""

from __future__ import annotations

import functools
import gc
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bnlint.cache import Cache
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.checked import Checked
from bnlint.source.spelling import Spelling
from bnlint.vocabulary import Vocabulary, no_words

if TYPE_CHECKING:
    from bnlint.source.project import Project


def read(path: Path) -> bytes:
    """Read a source file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """What a check of several files found, and what it could not do.

    Attributes:
        findings: The findings, in the order of the files; each cause once.
        lost: The functions whose flow could not be followed: path and dotted name.
        unreadable: The files that could not be read.
    """

    findings: tuple[Finding, ...]
    lost: tuple[tuple[Path, str], ...]
    unreadable: tuple[InputError, ...]


def check_files(
    paths: Sequence[Path],
    progress: Callable[[Path], None] | None = None,
    cache_folder: Path | None = None,
    vocabulary: Callable[[Path], Vocabulary] = no_words,
) -> CheckedFiles:
    """Check files, each with what it imports from other files of its project.

    Args:
        paths: The files.
        progress: Called with each file that was checked.
        cache_folder: Where to keep what was found for the next run; None keeps nothing.
        vocabulary: The words that hold in a file.
    """

    @functools.cache
    def project() -> Project:
        # Where all is known, nothing of the analysis is even imported: that would take longer than all the rest.
        from bnlint.source.project import Project

        return Project(paths, vocabulary)

    def digest(file: str, aspects: Collection[str]) -> str:
        return project().digest(file, aspects)

    cache = Cache(cache_folder, Spelling(paths), digest, vocabulary) if cache_folder is not None else None
    known = {path: found for path in paths if (found := _known(path, cache)) is not None} if cache else {}
    results: dict[Path, Checked | InputError] = {**known}
    new = [path for path in paths if path not in known]
    for path, checked in _new(new, project(), cache) if new else ():
        results[path] = checked
        if progress is not None:
            progress(path)
    findings: list[Finding] = []
    lost: list[tuple[Path, str]] = []
    unreadable: list[InputError] = []
    for path in paths:
        match results[path]:
            case InputError() as error:
                unreadable.append(error)
            case Checked() as checked:
                findings += checked.findings
                lost += [(path, symbol) for symbol in checked.lost]
    return CheckedFiles(tuple(distinct(findings, paths)), tuple(lost), tuple(unreadable))


def _new(new: Sequence[Path], project: Project, cache: Cache | None) -> Iterator[tuple[Path, Checked | InputError]]:
    """Yield each file that is not known with what is found in it."""
    from bnlint.source.pool import each

    with _collected_by_file():
        yield from each(new, lambda path: _checked(project, cache, path))


@contextmanager
def _collected_by_file() -> Iterator[None]:
    """Leave it to `_checked` to look for objects that refer to each other: between two files few are in use."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _known(path: Path, cache: Cache) -> Checked | None:
    try:
        return cache.load(path, read(path))
    except InputError:
        return None


def _checked(project: Project, cache: Cache | None, path: Path) -> Checked | InputError:
    """Check one file, and keep what was found; an error is told when all files are checked."""
    try:
        source = read(path)
    except InputError as error:
        return error
    from bnlint.source.document import inspect

    checked = inspect(source, str(path), project)
    gc.collect(0)  # the scopes of its flow; what stays is not looked at again
    if cache is not None:
        cache.store(path, source, checked, project.looked_at(path))
    return checked


def distinct(findings: Sequence[Finding], paths: Sequence[Path]) -> list[Finding]:
    """Return each finding once, in the order of the files it is in: files that share a helper find the same stop in it.

    Of several the one that knows a reason for it stays, then the one with a fix, from the file of the stop itself.
    """
    kept: dict[object, Finding] = {}
    for finding in findings:
        key = (finding.code, finding.location, finding.statistic) if finding.location is not None else id(finding)
        if key not in kept or _rank(finding) < _rank(kept[key]):
            kept[key] = finding
    order = {str(path): position for position, path in enumerate(paths)}

    def place(finding: Finding) -> tuple[int, int, int, int]:
        where = finding.location
        if where is None:
            return 0, 0, 0, 0
        return order.get(where.path, len(order)), where.cell or 0, where.line, where.column

    return sorted(kept.values(), key=place)


def _rank(finding: Finding) -> tuple[int, bool]:
    return finding.severity.rank, finding.fix is None
