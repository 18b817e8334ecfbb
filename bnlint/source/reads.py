"""The files that are read for the sake of others: each once in a run, and what of them is looked at is noted."""

from __future__ import annotations

import os.path
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from bnlint.source.aspects import CONTENT, THERE, hashed, seen
from bnlint.source.definitions import Read, read_file
from bnlint.source.memory import Memory, Rest, Rests
from bnlint.source.spelling import absolute
from bnlint.vocabulary import Vocabulary

#: how many files are kept in memory; further ones are read again
MAX_KEPT = 250
#: how many facts about names are kept in memory
MAX_REMEMBERED = 150_000


class Reads:
    """The files around those that are checked.

    Args:
        vocabulary: The words that hold in a file.
    """

    def __init__(self, vocabulary: Callable[[Path], Vocabulary]) -> None:
        self._vocabulary = vocabulary
        self._memory = Memory()
        self._files: dict[Path, Read | None] = {}
        self._held: dict[Path, bytes] = {}
        self._there: dict[str, bool] = {}
        self._rests: dict[Path, list[Rests]] = {}
        self._digests: dict[tuple[str, str], str] = {}

    @contextmanager
    def checking(self, file: Path) -> Iterator[None]:
        """Note which paths are looked at while a file is checked."""
        if len(self._memory) > MAX_REMEMBERED:
            self._there.clear()
            self._memory.forget()
        with self._memory.noting() as rests:
            yield
        self._rests.setdefault(file, []).append(rests)

    def read(self, file: Path, *aspects: str) -> Read | None:
        """Read a file for another's sake; None if there is none, or none that can be followed.

        Args:
            file: The file, absolute.
            aspects: What will be looked at in it; without, that may be anything.
        """
        for aspect in aspects or (CONTENT,):
            self._memory.rest_on(str(file), aspect)
        return self._read(file)

    def _read(self, file: Path) -> Read | None:
        if file in self._files:
            self._files[file] = read = self._files.pop(file)  # the last to be asked for is the last to be given up
            return read
        while len(self._files) >= MAX_KEPT:
            del self._files[next(iter(self._files))]
        self._files[file] = read = read_file(file, self._vocabulary, self._held.get(file))
        return read

    def _exists(self, path: str) -> bool:
        self._memory.rest_on(path, THERE)
        if path not in self._there:
            self._there[path] = os.path.exists(path)  # noqa: PTH110 (there are very many)
        return self._there[path]

    def looked_at(self, file: Path) -> Mapping[str, frozenset[str]]:
        """Return the paths on which the findings of a checked file rest, besides itself, and which aspects of them."""
        file = absolute(file)
        aspects: dict[str, set[str]] = defaultdict(set)
        for path, aspect in frozenset[Rest]().union(*(rests.all() for rests in self._rests.get(file, ()))):
            aspects[path].add(aspect)
        aspects.pop(str(file), None)
        return {path: frozenset(of_path) for path, of_path in aspects.items()}

    def digest(self, path: str, aspects: Collection[str]) -> str:
        """Return a digest of aspects of a file, and of the words that hold in it.

        Raises:
            ValueError: One of them is none of the text.
        """
        for aspect in aspects:
            if (path, aspect) not in self._digests:
                self._digests[path, aspect] = _hashed(seen(self._read(Path(path)), aspect))
        digests = [self._digests[path, aspect] for aspect in sorted(aspects)]
        there = os.path.exists(path)  # noqa: PTH110
        return _hashed((there, self._vocabulary(Path(path)), digests))

    def hold(self, file: Path, content: bytes) -> None:
        """Take this for the content of a file, whatever lies on the disk; forget what rests on the old one."""
        self._held[absolute(file)] = content
        self._files.clear()
        self._there.clear()
        self._digests.clear()
        self._memory.forget()


def _hashed(value: object) -> str:
    return hashed(repr(value).encode(errors="surrogatepass"))
