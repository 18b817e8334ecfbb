"""The cache: what was found in files that have not changed since, nor has anything that they rest on.

An entry is one small JSON file for each checked file, replaced as a whole: runs at the same time do no harm to each
other, and one that cannot be read is as good as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bnlint.finding import Edit, Finding, Fix, Mark, Severity, SourceLocation
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
        vocabulary: The words that hold in a file; they are the same for all files of a folder.
    """

    def __init__(
        self, folder: Path, spelled: Callable[[str], str], vocabulary: Callable[[Path], Vocabulary] = no_words
    ) -> None:
        self._folder = folder
        self._spelled = spelled
        self._vocabulary = vocabulary
        self._started = time.time_ns()
        self._version = _version()
        self._seen: dict[str, tuple[str, str]] = {}
        self._words: dict[str, bytes] = {}

    def load(self, path: Path, source: bytes) -> Checked | None:
        """Return what was found in a file with this content, None where that is not known."""
        try:
            entry = json.loads(self._entry(path).read_bytes())
            fresh = entry["key"] == self._key(path, source) and all(
                (self._seen.get(file) or self._now(file)) == (state, name) for file, state, name in entry["rests"]
            )
            return Checked(tuple(map(_finding, entry["findings"])), tuple(entry["lost"])) if fresh else None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return None

    def store(self, path: Path, source: bytes, checked: Checked, rests: Iterable[Path]) -> None:
        """Keep what was found; `rests` are the paths on whose content or absence it rests."""
        files = sorted(rests)
        if any(self._changed(file) for file in files):
            return
        entry = {
            "key": self._key(path, source),
            "rests": [[str(file), *self._now(str(file))] for file in files],
            "findings": [asdict(finding) for finding in checked.findings],
            "lost": checked.lost,
        }
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
        return self._folder / f"{_digest(os.path.abspath(path).encode(errors='surrogateescape'))}.json"  # noqa: PTH100

    def _key(self, path: Path, source: bytes) -> str:
        # Findings call their file as it was named.
        named = "\0".join((self._version, str(path))).encode(errors="surrogateescape")
        return _digest(b"\0".join((named, self._words_in(os.path.abspath(path)), source)))  # noqa: PTH100

    def _now(self, file: str) -> tuple[str, str]:
        """Return the state of a file, and what findings call it; each is looked at once in a run."""
        if file not in self._seen:
            try:
                with open(file, "rb") as opened:  # noqa: PTH123 (there are thousands, and a Path takes as long)
                    state = _digest(self._words_in(file) + b"\0" + opened.read())
            except IsADirectoryError:
                state = _FOLDER
            except (OSError, ValueError):
                state = _FOLDER if os.path.isdir(file) else _ABSENT  # noqa: PTH112 (on Windows that is another error)
            self._seen[file] = state, self._spelled(file)
        return self._seen[file]

    def _words_in(self, file: str) -> bytes:
        folder = os.path.dirname(file)  # noqa: PTH120
        if folder not in self._words:
            self._words[folder] = repr(self._vocabulary(Path(file))).encode()
        return self._words[folder]

    def _changed(self, file: Path) -> bool:
        """Whether a file may have changed since this run read it."""
        try:
            return file.stat().st_mtime_ns >= self._started
        except OSError:
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


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=20).hexdigest()


def _version() -> str:
    """Name this bnlint, by its files since a checkout changes without a new version, and this Python."""
    package = Path(__file__).parent
    states = []
    for folder, _, files in os.walk(package):
        for name in files:
            if name.endswith(".py"):
                state = (Path(folder) / name).stat()
                states.append(f"{name}:{state.st_size}:{state.st_mtime_ns}")
    return f"{sys.version} {_digest(chr(10).join(sorted(states)).encode())}"


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
