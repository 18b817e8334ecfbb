"""In-place operations that a live statistic would not survive: autograd refuses to go back through changed values."""

from __future__ import annotations

import functools
from enum import Enum, auto

import libcst as cst

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.ops import Role, is_inplace, role
from bnlint.flow.sites import Statistic
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import last_name, of

#: operations whose gradient is computed from their result
_NEED_RESULT = frozenset({"std", "norm", "sqrt", "rsqrt", "reciprocal", "exp"})


class Way(Enum):
    """How a stop may be removed."""

    PLAIN = auto()
    COPY = auto()
    NONE = auto()


def way(text: SourceText, parsed: Parsed, graph: FlowGraph, statistic: Statistic, stop: int) -> Way:
    """Say how a stop can be removed: as it is, with a copy in its place, or not at all.

    While the statistic was stopped, code was free to change it, or the tensor that it was computed from, in place.
    """
    places = _changing(parsed)
    changing = [node for node in graph if node.kind is Kind.OP and node.args and node.origin.location in places]
    changed = {_memory(text, graph, node.args[0]) for node in changing if node.index > statistic.reduction}
    if statistic.name != "mean" and _memory(text, graph, graph[statistic.reduction].args[0]) in changed:
        return Way.NONE
    needed = {index for index in changed if graph[index].name in _NEED_RESULT} & _behind(graph, statistic.reduction)
    if not needed:
        return Way.PLAIN
    where = graph[stop].origin.location
    suffix = graph[stop].name in {"detach", "data"} and graph[stop].origin.region is None
    copied = suffix and where is not None and "detach_" not in text.at(where)
    return Way.COPY if copied and needed == {_memory(text, graph, stop)} else Way.NONE


@functools.lru_cache(1)
def _changing(parsed: Parsed) -> frozenset[SourceLocation]:
    """Return where something is changed in place."""
    calls = (call for call in of(parsed.module, cst.Call) if is_inplace(last_name(call.func)))
    return frozenset(map(parsed.locate, (*calls, *of(parsed.module, cst.AugAssign))))


def _behind(graph: FlowGraph, start: int) -> set[int]:
    found = {start}
    for node in graph:
        if not found.isdisjoint(node.args):
            found.add(node.index)
    return found


def _memory(text: SourceText, graph: FlowGraph, index: int) -> int:
    """Return the node whose memory a value shares."""
    node = graph[index]
    while node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) in {Role.SHAPE, Role.PART}):
        if node.origin.location is not None and "clone" in text.at(node.origin.location):
            break
        node = graph[node.args[0]]
    return node.index
