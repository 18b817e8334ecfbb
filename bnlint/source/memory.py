"""What was computed once in a run, and the paths that it rests on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


class Rests:
    """What something rests on: paths as text, which is compared much faster than paths are, and what else was computed.

    Which paths those are in all is found out when somebody asks: one fact may rest on thousands of files.
    """

    __slots__ = ("_facts", "_own")

    def __init__(self) -> None:
        self._own: Collection[str] = ()
        self._facts: Collection[Rests] = ()

    def take(self, own: Collection[str], facts: Collection[Rests]) -> None:
        """Note paths, and what else was computed."""
        # There are tens of thousands, most with very little in them: a tuple takes a quarter of the room of a set.
        self._own, self._facts = tuple(own), tuple(facts)

    def paths(self) -> frozenset[str]:
        """Return all paths."""
        reached, todo, paths = {self}, [self], set[str]()
        while todo:
            current = todo.pop()
            paths.update(current._own)
            new = {fact for fact in current._facts if fact not in reached}
            reached |= new
            todo += new
        return frozenset(paths)


class Memory:
    """Facts by key."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[object, Rests]] = {}
        self._paths: set[str] = set()
        self._facts: set[Rests] = set()

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Forget all facts."""
        self._known.clear()

    def rest_on(self, path: str) -> None:
        """Note that what is being computed rests on a path."""
        self._paths.add(path)

    def once(self, key: Hashable, compute: Callable[[], Result]) -> Result:
        """Compute something once, and remember what it rests on."""
        known = self._known.get(key)
        if known is None:
            with self.noting() as rests:
                known = self._known[key] = compute(), rests
        self._facts.add(known[1])
        return known[0]  # type: ignore[return-value]

    @contextmanager
    def noting(self) -> Iterator[Rests]:
        """Note apart what the computations in a block rest on."""
        rests, before = Rests(), (self._paths, self._facts)
        self._paths, self._facts = set(), set()
        try:
            yield rests
        finally:
            rests.take(self._paths, self._facts)
            self._paths, self._facts = before
