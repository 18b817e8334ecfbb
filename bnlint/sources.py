"""The commands on source: find the files, check or fix them, whether they lie on the disk or come on stdin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.reader import Reader
from bnlint.settings import Settings
from bnlint.shell import progress, warn_of_cache
from bnlint.source.discover import discover, is_excluded, is_notebook
from bnlint.source.spelling import absolute
from bnlint.streams import read_stdin
from bnlint.targets import Targets

if TYPE_CHECKING:
    from bnlint.source.files import CheckedFiles
    from bnlint.source.fixing import FixedFile

#: what a file on stdin is called, where --stdin-filename does not tell
NAMELESS = "-"


@dataclass(frozen=True)
class Sources:
    """The Python source of a run: files, or the one text on stdin; and the folders that could not be looked into."""

    files: Sequence[Path]
    text: bytes | None = None
    unreadable: tuple[InputError, ...] = ()

    @cached_property
    def named(self) -> frozenset[Path]:
        """The files from the root; only what is found asks for them."""
        return frozenset(map(absolute, self.files))

    @property
    def reader(self) -> Reader:
        """Reads this source for reports."""
        return Reader({} if self.text is None else {str(path): self.text for path in self.files})

    @property
    def told(self) -> str:
        """How many files these are."""
        notebooks = sum(is_notebook(str(path)) for path in self.files)
        files = len(self.files) - notebooks
        listed = [f"{files} Python file{'s' * (files != 1)}"] * bool(files)
        listed += [f"{notebooks} notebook{'s' * (notebooks != 1)}"] * bool(notebooks)
        return ", ".join(listed) or "no Python files"


def find(targets: Targets, settings: Settings) -> Sources:
    """Find the files below the targets that are not excluded; read stdin where it is named."""
    force = settings.base.force_exclude
    if targets.stdin:
        content = read_stdin()
        path = Path(settings.options.get("stdin_filename") or NAMELESS)
        left_out = force and is_excluded(path, settings.excludes)
        return Sources([] if left_out else [path], content)
    gitignore = settings.base.respect_gitignore
    unreadable: list[InputError] = []
    files = discover(
        targets.sources,
        exclude=settings.excludes,
        respect_gitignore=gitignore,
        force_exclude=force,
        unreadable=unreadable.append,
    )
    return Sources(files, unreadable=tuple(unreadable))


def wanted(sources: Sources, settings: Settings) -> Callable[[Finding], bool]:
    """Return whether a finding is to be told.

    A file that is excluded may be used by one that is checked. What begins, stops and ends in it is left out with it.
    """

    def told(finding: Finding) -> bool:
        if not settings.wanted(finding):
            return False
        places = {absolute(Path(each.path)) for each in finding.places}
        elsewhere = bool(places) and places.isdisjoint(sources.named)
        return not (elsewhere and all(is_excluded(place, settings.excludes) for place in places))

    return told


def check(sources: Sources, settings: Settings, quiet: bool) -> CheckedFiles:
    """Check source and return what was found; of the findings, only those that are wanted."""
    from bnlint.source.files import CheckedFiles, check_files

    if sources.text is None:
        if settings.cache is not None and not quiet:
            warn_of_cache(settings.cache)
        with progress(len(sources.files), "checking", quiet) as advance:
            checked = check_files(sources.files, lambda path: advance(str(path)), settings.cache, settings.vocabulary)
    else:
        from bnlint.source.document import inspect
        from bnlint.source.project import Project

        project = Project(sources.files, settings.vocabulary)
        each = [(path, inspect(sources.text, str(path), project)) for path in sources.files]
        found = tuple(finding for _, of_file in each for finding in of_file.findings)
        checked = CheckedFiles(found, tuple((path, name) for path, of_file in each for name in of_file.lost), ())
    findings = tuple(filter(wanted(sources, settings), checked.findings))
    return replace(checked, findings=findings, unreadable=(*sources.unreadable, *checked.unreadable))


def fix(sources: Sources, settings: Settings, *, write: bool, failed: Callable[[InputError], None]) -> list[FixedFile]:
    """Fix source, and write the files back; what comes on stdin is only returned.

    `failed` is called for each file that cannot be read or written.
    """
    from bnlint.source.fixing import fix_files, fix_text

    unsafe, told = settings.base.unsafe_fixes, wanted(sources, settings)
    if sources.text is None:
        return fix_files(sources.files, told, write=write, unsafe=unsafe, failed=failed, vocabulary=settings.vocabulary)
    from bnlint.source.project import Project

    project = Project(sources.files, settings.vocabulary)
    return [fix_text(path, sources.text, told, project, unsafe=unsafe) for path in sources.files]


def suppress(
    sources: Sources, settings: Settings, reason: str, quiet: bool, failed: Callable[[InputError], None]
) -> list[Finding]:
    """Write a comment behind each finding that suppresses it; return those that no comment can suppress.

    `failed` is called for each file that cannot be read or written.
    """
    from bnlint.source.fixing import add_ignores

    told = wanted(sources, settings)
    changed = add_ignores(sources.files, told, reason, failed=failed, vocabulary=settings.vocabulary)
    left = [finding for each in changed for finding in each.left]
    count = sum(each.count for each in changed)
    files = sum(each.before != each.after for each in changed)
    if not quiet:
        click.echo(f"suppressed {count} finding{'s' * (count != 1)} in {files} file{'s' * (files != 1)}", err=True)
    return left
