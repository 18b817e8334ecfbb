"""Files around the static check: read them, check or fix them, write them whole or not at all."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bnlint import atomic
from bnlint.cache import Cache
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.checked import Checked
from bnlint.source.document import diff, fix, ignoring, inspect
from bnlint.source.pool import each
from bnlint.source.project import Project
from bnlint.vocabulary import Vocabulary, no_words


@dataclass(frozen=True, slots=True)
class FixedFile:
    """A file, what was found in it before and after, and its new content."""

    path: Path
    before: bytes
    after: bytes
    findings: tuple[Finding, ...]
    left: tuple[Finding, ...]

    @property
    def diff(self) -> str:
        """The change as a unified diff, "" if there is none."""
        return diff(self.before, self.after, str(self.path))


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
    project = Project(paths, vocabulary)
    cache = Cache(cache_folder, project.spelled, vocabulary) if cache_folder is not None else None
    known = {path: found for path in paths if (found := _known(path, cache)) is not None} if cache else {}
    results: dict[Path, Checked | InputError] = {**known}
    with _rarely_collected():
        for path, checked in each([path for path in paths if path not in known], partial(_checked, project, cache)):
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


@contextmanager
def _rarely_collected() -> Iterator[None]:
    """Look less often for objects that refer to each other: syntax trees are large, and free themselves."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


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
    checked = inspect(source, str(path), project)
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


def fix_files(
    paths: Sequence[Path],
    wanted: Callable[[Finding], bool],
    *,
    write: bool,
    unsafe: bool = False,
    failed: Callable[[InputError], None] | None = None,
    vocabulary: Callable[[Path], Vocabulary] = no_words,
) -> list[FixedFile]:
    """Apply the fixes of the wanted findings, `unsafe` ones if asked; each file is written whole or not at all.

    A finding in another file than the one that shows it counts once, with the first that does.

    Args:
        paths: The files.
        wanted: Whether a finding counts.
        write: Whether to write the files.
        unsafe: Whether fixes may change forward values.
        failed: Called for each file that cannot be read or written, and is left out; without, that is an error.
        vocabulary: The words that hold in a file.
    """
    project = Project(paths, vocabulary)
    fixed: list[FixedFile] = []
    told: set[object] = set()

    def new(finding: Finding) -> bool:
        return wanted(finding) and (finding.code, finding.location, finding.statistic) not in told

    for path in paths:
        with _failing(failed):
            file = fix_text(path, read(path), wanted, project, new=new, unsafe=unsafe)
            if write and file.after != file.before:
                _replace(file)
                project.forget()
            told |= {
                (f.code, f.location, f.statistic) for f in file.left if f.location and f.location.path != str(path)
            }
            fixed.append(file)
    return fixed


def fix_text(
    path: Path,
    before: bytes,
    wanted: Callable[[Finding], bool],
    project: Project,
    *,
    new: Callable[[Finding], bool] | None = None,
    unsafe: bool = False,
) -> FixedFile:
    """Apply the fixes of the wanted findings to the content of a file, and write nothing; only `new` ones are told."""
    told = new or wanted
    findings = tuple(f for f in inspect(before, str(path), project).findings if told(f))
    after = fix(before, str(path), wanted, project, unsafe=unsafe) if findings else before
    left = tuple(f for f in inspect(after, str(path), project).findings if told(f)) if after != before else findings
    return FixedFile(path, before, after, findings, left)


def add_ignores(
    paths: Sequence[Path],
    wanted: Callable[[Finding], bool],
    reason: str,
    *,
    failed: Callable[[InputError], None] | None = None,
    vocabulary: Callable[[Path], Vocabulary] = no_words,
) -> list[FixedFile]:
    """Write a comment for each wanted finding, which suppresses it, into the file that the finding is in.

    What is left of all files is told with the first. `failed` is called for each file that cannot be read or written,
    and is left out; without, that is an error.
    """
    findings = [f for f in check_files(paths, vocabulary=vocabulary).findings if wanted(f)]
    changed: list[FixedFile] = []
    for path in paths:
        with _failing(failed):
            own = tuple(f for f in findings if f.location is not None and f.location.path == str(path))
            before = read(path)
            after = ignoring(before, str(path), own, reason) if any(f.code != "BN001" for f in own) else before
            changed.append(FixedFile(path, before, after, own, ()))
    written: list[FixedFile] = []
    for file in changed:
        with _failing(failed):
            if file.after != file.before:
                _replace(file)
            written.append(file)
    left = [f for f in check_files(paths, vocabulary=vocabulary).findings if wanted(f)]
    return [replace(file, left=tuple(left) if not index else ()) for index, file in enumerate(written)]


@contextmanager
def _failing(failed: Callable[[InputError], None] | None) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        if failed is None:
            raise
        failed(error)


def _replace(file: FixedFile) -> None:
    """Write a file, unless somebody else has changed it since it was read."""

    def unchanged(_: Path) -> None:
        if read(file.path) != file.before:
            what = "has changed while it was read, and is left as it is"
            raise InputError(what, where=str(file.path), hint="run bnlint again")

    atomic.write(file.path, lambda target: target.write(file.after), unchanged)
