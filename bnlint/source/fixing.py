"""Fix files, or write suppressions into them: each is written whole or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bnlint import atomic
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.check import MAX_PASSES
from bnlint.source.document import diff, fix, ignoring, inspect
from bnlint.source.files import check_files, distinct, read
from bnlint.source.project import Project
from bnlint.source.spelling import absolute
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
    def count(self) -> int:
        """How many findings in this file were fixed; one that a fix brought to light takes nothing off."""
        before, after = (Counter(map(_what, _in_file(each, self.path))) for each in (self.findings, self.left))
        return (before - after).total()

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

    The fix of one file changes what another shows that looks into it: such a file is fixed once more, in whatever
    order they come. A finding in another file than the one that shows it counts once.

    Args:
        paths: The files.
        wanted: Whether a finding counts.
        write: Whether to write the files.
        unsafe: Whether fixes may change forward values.
        failed: Called for each file that cannot be read or written, and is left out; without, that is an error.
        vocabulary: The words that hold in a file.
    """
    project = Project(paths, vocabulary)
    files: dict[Path, FixedFile] = {}
    todo: Sequence[Path] = paths
    for _ in range(MAX_PASSES):
        seen: dict[Path, int] = {}
        changed: dict[Path, int] = {}
        for number, path in enumerate(todo):
            with _failing(failed):
                known = files.get(path)
                before = known.after if known is not None else read(path)
                file = fix_text(path, before, wanted, project, unsafe=unsafe)
                if file.after != before:
                    if write:
                        _replace(file)
                    project.hold(path, file.after)
                    changed[absolute(path)] = number
                first = known or file
                files[path] = replace(file, before=first.before, findings=first.findings)
                seen[path] = number
        if not changed:
            break
        todo = [path for path in files if _outdated(seen.get(path, -1), project.looked_at(path), changed)]
    return _once(list(files.values()), paths)


def _outdated(seen: int, looked_at: Iterable[str], changed: Mapping[Path, int]) -> bool:
    """Whether a file that was looked at has changed since."""
    return any(changed.get(Path(path), -1) > seen for path in looked_at)


def _once(fixed: Sequence[FixedFile], paths: Sequence[Path]) -> list[FixedFile]:
    """Leave each finding with one of the files that show it."""
    kept = {id(finding) for finding in distinct([each for file in fixed for each in file.left], paths)}
    return [replace(file, left=tuple(each for each in file.left if id(each) in kept)) for file in fixed]


def fix_text(
    path: Path,
    before: bytes,
    wanted: Callable[[Finding], bool],
    project: Project,
    *,
    unsafe: bool = False,
) -> FixedFile:
    """Apply the fixes of the wanted findings to the content of a file, and write nothing."""
    findings = tuple(f for f in inspect(before, str(path), project).findings if wanted(f))
    after = fix(before, str(path), wanted, project, unsafe=unsafe) if findings else before
    left = tuple(f for f in inspect(after, str(path), project).findings if wanted(f)) if after != before else findings
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

    What is left is told with the file that it is in, and with the first where it is in none of them. `failed` is called
    for each file that cannot be read or written, which stays as it is; without, that is an error.
    """
    findings = [f for f in check_files(paths, vocabulary=vocabulary).findings if wanted(f)]
    changed: list[FixedFile] = []
    for path in paths:
        with _failing(failed):
            own = tuple(_in_file(findings, path))
            before = read(path)
            after = ignoring(before, str(path), own, reason) if any(f.code != "BN001" for f in own) else before
            changed.append(FixedFile(path, before, after, own, ()))
    written: list[FixedFile] = []
    for file in changed:
        kept = replace(file, after=file.before)
        with _failing(failed):
            if file.after != file.before:
                _replace(file)
            kept = file
        written.append(kept)
    left = [f for f in check_files(paths, vocabulary=vocabulary).findings if wanted(f)]
    elsewhere = [f for f in left if f.location is None or f.location.path not in map(str, paths)]
    return [
        replace(file, left=(*_in_file(left, file.path), *(elsewhere if not index else ())))
        for index, file in enumerate(written)
    ]


def _what(finding: Finding) -> tuple[object, ...]:
    """Return what stays the same of a finding while the text around it changes."""
    return finding.code, finding.symbol, finding.statistic


def _in_file(findings: Iterable[Finding], path: Path) -> list[Finding]:
    return [each for each in findings if each.location is not None and each.location.path == str(path)]


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
