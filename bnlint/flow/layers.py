"""Which normalizations are those of a normalization layer, rather than arithmetic that happens to standardize."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from bnlint.flow.graph import FlowGraph, Kind, Node, Owner
from bnlint.flow.ops import Role, role
from bnlint.flow.reading import train_args
from bnlint.flow.sites import Site

#: the norms of torch, as base classes → the number of dimensions of their input, None where it varies
BATCH_NORMS: dict[str, int | None] = {
    "_BatchNorm": None,
    "_NormBase": None,
    "BatchNorm1d": None,
    "BatchNorm2d": 4,
    "BatchNorm3d": 5,
    "SyncBatchNorm": None,
}
INSTANCE_NORMS: dict[str, int | None] = {"_InstanceNorm": None, "InstanceNorm2d": 4, "InstanceNorm3d": 5}
_OTHER_NORMS = frozenset({"InstanceNorm1d", "LayerNorm", "GroupNorm", "RMSNorm"})
#: stands among the bases of a class for a normalization class that a project declares
DECLARED = "DeclaredNorm"
_NORMS = frozenset(BATCH_NORMS) | frozenset(INSTANCE_NORMS) | _OTHER_NORMS | {DECLARED}
_FORWARD = frozenset({"forward", "__call__"})
#: what may follow a normalization inside its layer: weight, bias, layout
_AFFINE = frozenset({"add", "sub", "mul", "div", "reshape"})


def layer_sites(graph: FlowGraph, sites: Sequence[Site]) -> list[Site]:
    """Return the sites that are what a normalization layer does to its input.

    The layer is a subclass of one of torch's, or a module whose forward gives the normalized input back, scaled by a
    parameter or kept in step with running statistics.
    """
    owner = graph.owner
    if owner is None or owner.method not in _FORWARD or not owner.bases:
        return []
    if owner.bases & _NORMS:
        return [site for site in sites if _of_input(graph, site.input)]
    return [site for site in sites if _of_input(graph, site.input) and _given_back(graph, owner, site)]


def _of_input(graph: FlowGraph, index: int) -> bool:
    """Whether a tensor is made of an input, rather than of weights alone."""
    todo, seen = [index], {index}
    while todo:
        node = graph[todo.pop()]
        if node.kind is Kind.INPUT:
            return True
        for arg in set(train_args(node)) - seen:
            seen.add(arg)
            todo.append(arg)
    return False


def _given_back(graph: FlowGraph, owner: Owner, site: Site) -> bool:
    """Whether what a site normalizes is the output, but for weight and bias, and the layer has state for it."""
    users: dict[int, list[Node]] = defaultdict(list)
    for node in graph:
        for arg in train_args(node):
            users[arg].append(node)
    todo = [statistic.use for statistic in site.statistics]
    seen, returned = set(todo), False
    before = [graph[index] for each in site.statistics for index in between(graph, site.input, each.use)]
    scaled = any(_is_parameter(graph, arg) for node in before if node.name in {"mul", "div"} for arg in node.args)
    while todo:
        index = todo.pop()
        for user in users[index]:
            returned = returned or user.kind is Kind.OUTPUT
            if user.kind is Kind.MERGE or (user.kind is Kind.OP and user.name in _AFFINE):
                others = [arg for arg in user.args if arg != index]
                scaled = scaled or (user.name == "mul" and any(_is_parameter(graph, arg) for arg in others))
                if user.index not in seen:
                    seen.add(user.index)
                    todo.append(user.index)
    return returned and (scaled or any(name.startswith("running_") for name in owner.buffers))


def between(graph: FlowGraph, start: int, end: int) -> list[int]:
    """Return the nodes through which a value comes from one node to another, both left out, in order."""
    reached = {start}
    for index in range(start + 1, end):
        if not reached.isdisjoint(train_args(graph[index])):
            reached.add(index)
    needed = set(train_args(graph[end]))
    for index in range(end - 1, start, -1):
        if index in needed & reached:
            needed |= set(train_args(graph[index]))
    return sorted((needed & reached) - {start})


def _is_parameter(graph: FlowGraph, index: int) -> bool:
    node = graph[index]
    while node.args and (node.kind is Kind.MERGE or (node.kind is Kind.OP and role(node.name) is Role.SHAPE)):
        node = graph[node.args[0]]
    return node.kind is Kind.PARAMETER
