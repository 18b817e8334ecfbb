"""The cache: what was found in files that have not changed since, nor has anything that they rest on.

An entry is one small JSON file for each checked file, replaced as a whole: runs at the same time do no harm to each
other, and one that cannot be read is as good as none.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnlint.finding import Edit, Finding, Fix, Mark, Severity, SourceLocation
from bnlint.source.aspects import CONTENT, THERE, hashed
from bnlint.source.checked import Checked
from bnlint.vocabulary import Vocabulary, no_words

FOLDER = ".bnlint_cache"
_MARKER = ".gitignore"
_MARKED = "# made by bnlint\n*\n"
_ENTRY = re.compile(r"[0-9a-f]{40}\.json|[0-9a-f]{16}\.tmp")
_FOLDER, _ABSENT = "folder", "absent"


class Cache:
    """The cache of one run.

    Args:
        folder: Where it lies; it is made when there is something to keep.
        spelled: What findings call a file.
        digest: Digests aspects of a file (see `bnlint.source.aspects`).
        vocabulary: The words that hold in a file; they are the same for all files of a folder.
    """

    def __init__(
        self,
        folder: Path,
        spelled: Callable[[str], str],
        digest: Callable[[str, Collection[str]], str],
        vocabulary: Callable[[Path], Vocabulary] = no_words,
    ) -> None:
        self._folder = folder
        self._spelled = spelled
        self._digest = digest
        self._vocabulary = vocabulary
        self._started = time.time_ns()
        self._version = _version()
        self._words: dict[str, bytes] = {}
        # Each file is looked at once in a run.
        self._there = functools.cache(os.path.exists)
        self._state = functools.cache(self._read)

    def load(self, path: Path, source: bytes) -> Checked | None:
        """Return what was found in a file with this content, None where that is not known."""
        try:
            entry = json.loads(self._entry(path).read_bytes())
            there = entry["there"].items()
            if entry["key"] != self._key(path, source) or any(self._there(file) is not known for file, known in there):
                return None
            other = [rest for rest in entry["rests"] if self._state(rest[0]) != (rest[1], rest[2])]
            if not all(map(self._looks_the_same, other)):
                return None
            checked = Checked(tuple(map(_finding, entry["findings"])), tuple(entry["lost"]))
            for rest in other:
                rest[1] = self._state(rest[0])[0]
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None
        if other:
            self._write(path, entry)
        return checked

    def store(self, path: Path, source: bytes, checked: Checked, rests: Mapping[str, Collection[str]]) -> None:
        """Keep what was found; `rests` are the paths on which it rests, and which aspects of them."""
        if any(map(self._changed, rests)):
            return
        seen = {file: sorted({*aspects} - {THERE}) for file, aspects in sorted(rests.items())}
        entry = {
            "key": self._key(path, source),
            "there": {file: self._there(file) for file, aspects in seen.items() if not aspects},
            "rests": [self._rest(file, aspects) for file, aspects in seen.items() if aspects],
            "findings": [asdict(finding) for finding in checked.findings],
            "lost": checked.lost,
        }
        self._write(path, entry)

    def _rest(self, file: str, aspects: list[str]) -> list[object]:
        """Note the state of a file; where every byte counts, its aspects tell no more."""
        known = [] if CONTENT in aspects else [aspects, self._digest(file, aspects)]
        return [file, *self._state(file), *known]

    def _looks_the_same(self, rest: list[Any]) -> bool:
        """Whether a file that has changed is the same in what was looked at."""
        match rest:
            case [file, _, name, aspects, digest]:
                same = self._state(file)[1] == name and self._digest(file, aspects) == digest
                return same and not self._changed(file)
            case _:
                return False

    def _write(self, path: Path, entry: Mapping[str, object]) -> None:
        with suppress(OSError, ValueError):
            self._make_folder()
            target = self._entry(path)
            temporary = target.with_name(f"{os.urandom(8).hex()}.tmp")
            try:
                temporary.write_text(json.dumps(entry), encoding="utf-8")
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def _entry(self, path: Path) -> Path:
        return self._folder / f"{hashed(os.path.abspath(path).encode(errors='surrogateescape'))}.json"  # noqa: PTH100

    def _key(self, path: Path, source: bytes) -> str:
        # Findings call their file as it was named.
        named = "\0".join((self._version, str(path))).encode(errors="surrogateescape")
        return hashed(b"\0".join((named, self._words_in(os.path.abspath(path)), source)))  # noqa: PTH100

    def _read(self, file: str) -> tuple[str, str]:
        """Return the state of a file, and what findings call it."""
        try:
            with open(file, "rb") as opened:  # noqa: PTH123 (there are thousands, and a Path takes as long)
                state = hashed(self._words_in(file) + b"\0" + opened.read())
        except IsADirectoryError:
            state = _FOLDER
        except (OSError, ValueError):
            state = _FOLDER if os.path.isdir(file) else _ABSENT  # noqa: PTH112 (on Windows that is another error)
        return state, self._spelled(file)

    def _words_in(self, file: str) -> bytes:
        folder = os.path.dirname(file)  # noqa: PTH120
        if folder not in self._words:
            self._words[folder] = repr(self._vocabulary(Path(file))).encode()
        return self._words[folder]

    def _changed(self, file: str) -> bool:
        """Whether a file may have changed since this run read it."""
        try:
            return os.stat(file).st_mtime_ns >= self._started  # noqa: PTH116
        except (OSError, ValueError):
            return False

    def _make_folder(self) -> None:
        if not (self._folder / _MARKER).exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / _MARKER).write_text(_MARKED, encoding="utf-8")


def is_of_others(folder: Path) -> bool:
    """Whether a folder holds files that are none of a cache, and is not called so: then it is no place for one."""
    marker = _marker(folder)
    if folder.name == FOLDER or marker.startswith(_MARKED):
        return False
    try:
        names = set(os.listdir(folder))  # noqa: PTH208 (the names alone)
    except OSError:
        return False
    if _MARKED.startswith(marker):  # another run is just writing it
        names.discard(_MARKER)
    return not all(map(_ENTRY.fullmatch, names))


def _marker(folder: Path) -> str:
    try:
        return (folder / _MARKER).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def clean(folder: Path) -> int:
    """Remove a cache, and nothing else that lies in its folder; return the number of entries that went."""
    if not _marker(folder).startswith(_MARKED):
        return 0
    entries = [each for each in folder.iterdir() if _ENTRY.fullmatch(each.name)]
    for entry in entries:
        entry.unlink(missing_ok=True)
    (folder / _MARKER).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
    return len(entries)


def _version() -> str:
    """Name this bnlint, by its files since a checkout changes without a new version, and this Python."""
    package = Path(__file__).parent
    states = []
    for folder, _, files in os.walk(package):
        for name in files:
            if name.endswith(".py"):
                state = (Path(folder) / name).stat()
                states.append(f"{name}:{state.st_size}:{state.st_mtime_ns}")
    return f"{sys.version} {hashed(chr(10).join(sorted(states)).encode())}"


def _finding(entry: dict[str, Any]) -> Finding:
    """Read a finding of the static check."""
    if entry["module"] is not None or entry["measurement"] is not None:
        raise ValueError("measured, and not to be kept")
    fix = entry["fix"]
    edits = tuple(Edit(SourceLocation(**edit["location"]), edit["replacement"]) for edit in fix["edits"]) if fix else ()
    return Finding(
        **entry
        | {
            "severity": Severity(entry["severity"]),
            "location": SourceLocation(**entry["location"]) if entry["location"] else None,
            "marks": tuple(
                Mark(mark["role"], mark["text"], SourceLocation(**mark["location"])) for mark in entry["marks"]
            ),
            "fix": Fix(fix["message"], fix["safe"], edits) if fix else None,
        }
    )
