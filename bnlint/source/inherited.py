"""A method that many classes inherit is followed once for all of those in which it does the same.

While it is followed for one class, the names are noted that its flow asks of the class. Another class to which these
names mean the same has the same flow, whatever else it overrides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Owner
from bnlint.source import syntax
from bnlint.source.values import Class, Function

#: calling an object asks for these
_CALLED = ("forward", "__call__")


class Asking:
    """Notes what the flow of one entry point asks of classes: names of their members, whatever the object."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        #: a method of the class above was asked for: what is above differs from class to class
        self.asked_above = False

    def asks(self, name: str) -> str:
        """Note a name that is asked for, and give it back."""
        self.asked.add(name)
        return name

    def called(self, cls: Class) -> syntax.FunctionDef | None:
        """Return what calling an object of a class runs."""
        self.asked.update(_CALLED)
        return next((cls.methods[name] for name in _CALLED if name in cls.methods), None)

    def above(self, cls: Class) -> Class | None:
        """Return the class whose methods `super()` means."""
        self.asked_above = True
        return cls.base


@dataclass(frozen=True, slots=True)
class _Followed:
    """What following a method for one class gave, and the names that this rests on."""

    cls: Class
    graph: FlowGraph | None
    asked: frozenset[str]


class Inherited:
    """The methods that were followed, as long as other classes inherit them.

    Args:
        functions: All functions that are going to be followed.
    """

    def __init__(self, functions: Iterable[Function]) -> None:
        self._left = Counter(function.node for function in functions)
        self._followed: dict[syntax.Node, list[_Followed]] = defaultdict(list)

    def find(self, function: Function, owner: Owner | None, symbol: str) -> tuple[FlowGraph | None] | None:
        """Return the graph of a function, or None for a flow that is lost, in a tuple; None if it is to be followed."""
        self._left[function.node] -= 1
        known = self._followed[function.node] if self._left[function.node] else self._followed.pop(function.node, [])
        cls = function.owner
        for each in known if cls is not None else ():
            if cls is not None and _alike(each.cls, cls, each.asked):
                return (None if each.graph is None else each.graph.inherited(owner, symbol),)
        return None

    def keep(self, function: Function, graph: FlowGraph | None, asking: Asking) -> None:
        """Keep the graph of a function, None for a flow that is lost, if another class may have the same."""
        if function.owner is not None and self._left[function.node] and not asking.asked_above:
            followed = _Followed(function.owner, graph, frozenset(asking.asked))
            self._followed[function.node].append(followed)


def _alike(one: Class, other: Class, names: Iterable[str]) -> bool:
    """Whether names mean the same to two classes, and their objects start alike."""
    return (
        one.fields == other.fields
        and list(one.declared.plain.items()) == list(other.declared.plain.items())
        and all(_means(one, name) == _means(other, name) for name in names)
    )


def _means(cls: Class, name: str) -> tuple[object, ...]:
    literal = cls.literals.get(name)
    return (
        cls.methods.get(name),
        name in cls.parameters,
        name in cls.buffers,
        cls.members.get(name),
        (type(literal), literal),
        cls.words.get(name),
    )
