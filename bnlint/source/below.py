"""What is below a node of a syntax tree: libcst's own `children` makes every node anew, which takes far longer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields

import libcst as cst

#: parts of nodes that hold nothing but layout
_LAYOUT = ("whitespace", "leading_lines", "trailing", "lines_after", "lpar", "rpar", "header", "footer", "semicolon")


@functools.cache
def _parts(kind: type[cst.CSTNode]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if not field.name.startswith(_LAYOUT))


def below(tree: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield a node and everything below it but layout, each node before what is below it."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        for name in _parts(type(node)):
            value = getattr(node, name)
            if isinstance(value, cst.CSTNode):
                todo.append(value)
            elif isinstance(value, (list, tuple)):
                todo += [each for each in value if isinstance(each, cst.CSTNode)]
