"""What was computed once in a run, and what of which files it rests on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")

#: a path, and what of it is looked at; as text, which is compared much faster than paths are
Rest = tuple[str, str]


class Rests:
    """What something rests on: files, and what else was computed.

    Which files those are in all is found out when somebody asks: one fact may rest on thousands.
    """

    __slots__ = ("_facts", "_own")

    def __init__(self) -> None:
        self._own: Collection[Rest] = ()
        self._facts: Collection[Rests] = ()

    def take(self, own: Collection[Rest], facts: Collection[Rests]) -> None:
        """Note files, and what else was computed."""
        # There are tens of thousands, most with very little in them: a tuple takes a quarter of the room of a set.
        self._own, self._facts = tuple(own), tuple(facts)

    def all(self) -> frozenset[Rest]:
        """Return all files, and what of them."""
        reached, todo, rests = {self}, [self], set[Rest]()
        while todo:
            current = todo.pop()
            rests.update(current._own)
            new = {fact for fact in current._facts if fact not in reached}
            reached |= new
            todo += new
        return frozenset(rests)


class Memory:
    """Facts by key."""

    def __init__(self) -> None:
        self._known: dict[Hashable, tuple[object, Rests]] = {}
        self._own: set[Rest] = set()
        self._facts: set[Rests] = set()
        self._noted: dict[Rest, Rest] = {}

    def __len__(self) -> int:
        return len(self._known)

    def forget(self) -> None:
        """Forget all facts."""
        self._known.clear()
        self._noted.clear()

    def rest_on(self, path: str, what: str) -> None:
        """Note that what is being computed rests on a file, and what of it."""
        rest = path, what
        self._own.add(self._noted.setdefault(rest, rest))  # most are noted again and again: one copy will do

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
        rests, before = Rests(), (self._own, self._facts)
        self._own, self._facts = set(), set()
        try:
            yield rests
        finally:
            rests.take(self._own, self._facts)
            self._own, self._facts = before
