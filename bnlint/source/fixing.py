"""Fix files, or write suppressions into them: each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bnlint import atomic
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.document import diff, fix, ignoring, inspect
from bnlint.source.files import check_files, read
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
