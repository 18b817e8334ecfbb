"""What stands at the top level of a file, and how far it reaches: definitions, data, and the rest."""

from __future__ import annotations

import ast
from collections.abc import Iterator

#: longer tables at the top level of a module are data
MAX_TABLE = 50


def is_needed(node: ast.stmt, tops: frozenset[str]) -> bool:
    """Whether a statement at the top level is one of some definitions, or no definition at all and no data."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name in tops
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return not _is_data(value)
        case _:
            return True


def spans(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    """Yield the definitions at the top level: name, first and last line; the name of data is ""."""
    ends = {0: -1} | {place: node.end_lineno or node.lineno for place, node in enumerate(tree.body, 1)}
    for place, node in enumerate(tree.body, 1):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield name, first, ends[place]
            case ast.Assign(value=value) | ast.AnnAssign(value=value) if _is_data(value):
                after = tree.body[place].lineno if place < len(tree.body) else ends[place] + 1
                if ends[place - 1] < node.lineno and ends[place] < after:  # no other statement on the same lines
                    yield "", node.lineno, ends[place]
            case _:
                continue


def _is_data(value: ast.expr | None) -> bool:
    """Whether a value is a container that the flow never looks into."""
    elements = len(value.keys) if isinstance(value, ast.Dict) else 0
    return isinstance(value, ast.List | ast.Set | ast.Tuple) or elements > MAX_TABLE
