"""Files around the static check: read them, check or fix them, write them whole or not at all."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlint import atomic
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.check import check_source, fix_source
from bnlint.source.ignores import with_ignores
from bnlint.source.text import SourceText


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
        if self.before == self.after:
            return ""
        old, new = (SourceText.decode(content).text.splitlines(keepends=True) for content in (self.before, self.after))
        return "".join(difflib.unified_diff(old, new, str(self.path), str(self.path)))


def read(path: Path) -> bytes:
    """Read a source file.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error


def check_files(paths: Sequence[Path], progress: Callable[[Path], None] | None = None) -> list[Finding]:
    """Check files one by one; findings come in the order of the files."""
    findings: list[Finding] = []
    for path in paths:
        if progress is not None:
            progress(path)
        findings += check_source(read(path), str(path))
    return findings


def fix_files(
    paths: Sequence[Path], wanted: Callable[[Finding], bool], *, write: bool, unsafe: bool = False
) -> list[FixedFile]:
    """Apply the fixes of the wanted findings; each file is written whole or not at all."""
    fixed: list[FixedFile] = []
    for path in paths:
        file = fix_text(path, read(path), wanted, unsafe=unsafe)
        fixed.append(file)
        if write and file.after != file.before:
            _replace(path, file.after)
    return fixed


def fix_text(path: Path, before: bytes, wanted: Callable[[Finding], bool], *, unsafe: bool = False) -> FixedFile:
    """Apply the fixes of the wanted findings to the content of a file, and write nothing."""
    findings = tuple(f for f in check_source(before, str(path)) if wanted(f))
    after = fix_source(before, str(path), wanted, unsafe=unsafe) if findings else before
    left = tuple(f for f in check_source(after, str(path)) if wanted(f)) if after != before else findings
    return FixedFile(path, before, after, findings, left)


def add_ignores(path: Path, wanted: Callable[[Finding], bool], reason: str) -> FixedFile:
    """Write a comment into a file for each wanted finding, which suppresses it."""
    before = read(path)
    findings = tuple(f for f in check_source(before, str(path)) if wanted(f))
    after = with_ignores(before, str(path), findings, reason) if any(f.code != "BN001" for f in findings) else before
    left = tuple(f for f in check_source(after, str(path)) if wanted(f)) if after != before else findings
    if after != before:
        _replace(path, after)
    return FixedFile(path, before, after, findings, left)


def _replace(path: Path, content: bytes) -> None:
    atomic.write(path, lambda file: file.write(content))
