"""A baseline: findings that are known, and not reported as long as they stay as they are."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path, PurePath
from typing import Any

from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.fingerprint import Identity, TextAt, identity
from bnlint.paths import exists

VERSION = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """Known findings, how often each is known; paths are relative to the folder of the file."""

    folder: Path
    known: Counter[Identity]

    def new(self, findings: Sequence[Finding], text_at: TextAt) -> list[Finding]:
        """Return the findings that are not known, or known fewer times than they are found."""
        left = self.known.copy()
        new: list[Finding] = []
        for finding in findings:
            what = _placed(identity(finding, text_at), self.folder)
            if left[what]:
                left[what] -= 1
            else:
                new.append(finding)
        return new

    def stale(self, findings: Sequence[Finding], text_at: TextAt, looked_at: Callable[[Path], bool]) -> list[Identity]:
        """Return the entries about source that no longer match anything.

        Args:
            findings: All that were found, known or not.
            text_at: Gives the text of a location.
            looked_at: Whether a file was checked; of others nothing is known, unless they are gone.
        """
        left = self.known - Counter(_placed(identity(finding, text_at), self.folder) for finding in findings)
        files = {entry: self.folder / entry.path for entry in left if not entry.module}
        return sorted(entry for entry, file in files.items() if looked_at(file) or not exists(file))


def of(findings: Iterable[Finding], text_at: TextAt, folder: Path) -> Baseline:
    """Make the baseline that knows these findings."""
    return Baseline(folder, Counter(_placed(identity(finding, text_at), folder) for finding in findings))


def render(baseline: Baseline) -> str:
    """Write a baseline as JSON, sorted, one entry a line: changes to it are read by people."""
    entries = [json.dumps(asdict(entry) | {"count": baseline.known[entry]}) for entry in sorted(baseline.known)]
    listed = ",".join(f"\n    {entry}" for entry in entries)
    return f'{{\n  "version": {VERSION},\n  "findings": [{listed}\n  ]\n}}\n'


def read(file: Path) -> Baseline:
    """Read a baseline.

    Raises:
        InputError: It cannot be read, is none, or one of another version.
    """
    try:
        return _parse(file.read_bytes(), file)
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(file), hint="write it with --write-baseline") from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where=str(file)) from error


def _parse(content: bytes, file: Path) -> Baseline:
    anew = "remove it, and write it anew with --write-baseline"
    try:
        document = json.loads(content)
        version = document["version"]
        known = _known(document["findings"]) if version == VERSION else Counter()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError("not a baseline of bnlint", where=str(file), hint=anew) from error
    if version != VERSION:
        what = f"a baseline of version {json.dumps(version)}; this bnlint reads {VERSION}"
        newer = isinstance(version, int) and version > VERSION
        raise InputError(what, where=str(file), hint=f"update bnlint, or {anew}" if newer else anew)
    return Baseline(file.resolve().parent, known)


def _known(entries: list[dict[str, Any]]) -> Counter[Identity]:
    names = {each.name for each in fields(Identity)}
    known: Counter[Identity] = Counter()
    for entry in entries:
        count = entry.pop("count")
        texts = all(isinstance(value, str) and "\0" not in value for value in entry.values())
        if entry.keys() != names or not texts or not isinstance(count, int) or count < 1:
            raise ValueError
        known[Identity(**entry)] += count
    return known


def _placed(what: Identity, folder: Path) -> Identity:
    if not what.path:
        return what
    try:
        return replace(what, path=PurePath(os.path.relpath(Path(what.path).resolve(), folder)).as_posix())
    except ValueError:  # on another drive of Windows
        return what
