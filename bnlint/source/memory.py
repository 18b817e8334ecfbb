"""What was computed once in a run, and the paths that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


class Rests:
    """What something rests on: paths as text, which is compared much faster than paths are, and what else was computed.

    Which paths those are in all is found out when somebody asks: one fact may rest on thousands of files.
    """

    __slots__ = ("_facts", "_own")

    def __init__(self) -> None:
        self._own: set[str] = set()
        self._facts: set[Rests] = set()

    def add(self, path: str) -> None:
        """Note a path."""
        self._own.add(path)

    def take(self, fact: Rests) -> None:
        """Note something else that was computed."""
        self._facts.add(fact)

    def paths(self) -> frozenset[str]:
        """Return all paths."""
        reached, todo, paths = {self}, [self], set[str]()
        while todo:
            current = todo.pop()
            paths |= current._own
            new = current._facts - reached
            reached |= new
            todo += new
        return frozenset(paths)


class Memory:
    """Facts by key."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[object, Rests]] = {}
        self._here = Rests()

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Forget all facts."""
        self._known.clear()

    def rest_on(self, path: str) -> None:
        """Note that what is being computed rests on a path."""
        self._here.add(path)

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Compute something once, and remember what it rests on."""
        known = self._known.get(key)
        if known is None:
            with self.noting() as rests:
                known = self._known[key] = compute(), rests
        self._here.take(known[1])
        return known[0]  # type: ignore[return-value]

    @contextmanager
    def noting(self) -> Iterator[Rests]:
        """Note apart what the computations in a block rest on."""
        before, self._here = self._here, Rests()
        try:
            yield self._here
        finally:
            self._here = before
