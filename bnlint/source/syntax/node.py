"""What all nodes of the syntax have in common."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field, fields


@dataclass(slots=True, eq=False)
class Node:
    """A node of a syntax tree; `place` is the node of the parser that it stands for."""

    place: object = field(init=False, default=None)

    @property
    def children(self) -> Iterator[Node]:
        """What is right below it, in the order of the text."""
        for name in _parts(type(self)):  # type: ignore[arg-type]
            value = getattr(self, name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, (list, tuple)):
                yield from (each for each in value if isinstance(each, Node))


@functools.cache
def _parts(kind: type[Node]) -> tuple[str, ...]:
    return tuple(part.name for part in fields(kind) if part.name != "place")


def below(tree: Node) -> Iterator[Node]:
    """Yield a node and everything below it, each node before what is below it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo += node.children


@dataclass(slots=True, eq=False)
class Expression(Node):
    """An expression; `closed` is the last bracket around it, of which it is a part."""

    closed: Node | None = field(init=False, default=None)


@dataclass(slots=True, eq=False)
class Statement(Node):
    """A statement."""


@dataclass(slots=True, eq=False)
class Compound(Statement):
    """A statement with statements in it."""
