"""The gradient that a layer should have: its recorded graph with stops of its statistics taken out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import fx

from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.reading import train_args
from bnlint.flow.sites import Statistic
from bnlint.flow.statistics import reduced
from bnlint.model.lower import Lowered
from bnlint.model.replay import Recorded

_BYPASSED = frozenset({"detach", "data", "alias"})
_MODES = frozenset({"no_grad", "inference_mode"})


def removable(lowered: Lowered, statistics: Iterable[Statistic]) -> bool:
    """Whether every stop of the statistics is an operation that a graph can do without.

    Numbers that went through Python, hooks and opaque functions are not.
    """
    return all(lowered.graph[stop].name in _BYPASSED | _MODES for s in statistics for stop in s.stops)


def inseparable(lowered: Lowered, one: Statistic, other: Statistic) -> bool:
    """Whether a stop of both goes or stays for both: `var_mean` under `no_grad`, a detached stack."""
    return not _cuts(lowered, one).isdisjoint(_cuts(lowered, other))


def _cuts(lowered: Lowered, statistic: Statistic) -> set[tuple[fx.Node, fx.Node | None]]:
    """Return the stops of a statistic, each with what uses it on the way of that statistic."""
    path = _path(lowered.graph, statistic)
    way = {lowered.nodes[index] for index in path if index in lowered.nodes}
    found: set[tuple[fx.Node, fx.Node | None]] = set()
    for index in statistic.stops:
        stop = lowered.nodes[index]
        users = (None,) if lowered.graph[index].name in _MODES else way.intersection(stop.users)
        found.update((stop, user) for user in users)
    return found


def unstopped(module: fx.GraphModule, lowered: Lowered, statistics: Sequence[Statistic]) -> fx.GraphModule:
    """Copy a recorded graph without the stops of the given statistics; every other stop stays.

    Args:
        module: The recorded graph.
        lowered: Its flow graph.
        statistics: Statistics whose stops are all removable.

    Returns:
        A graph module that shares parameters, buffers and constants with `module`. Run it by `Replay`.
    """
    graph = lowered.graph
    origins = {s.reduction: reduced(graph, s.reduction).candidates[-1] for s in statistics}
    stops: list[tuple[int, set[int]]] = []
    for one in statistics:
        path = _path(graph, one)
        # A mean may be a part of the variance, too: `(x * x).mean() - mean * mean`.
        for other in statistics:
            if other is not one and origins[other.reduction] == origins[one.reduction]:
                path |= _between(graph, one.reduction, other.use)
        stops += [(stop, path) for stop in one.stops]
    return _without(module, lowered, stops)


def opened(module: fx.GraphModule, lowered: Lowered) -> fx.GraphModule | None:
    """Copy a recorded graph without any stop on the way to its outputs, None where it cannot do without one."""
    graph = lowered.graph
    path = {node.index for node in graph if node.kind is Kind.OUTPUT}
    for node in reversed(list(graph)):
        if node.index in path:
            path.update(train_args(node))
    stops = [index for index in sorted(path) if graph[index].kind is Kind.STOP]
    if not all(graph[stop].name in _BYPASSED | _MODES for stop in stops):
        return None
    return _without(module, lowered, [(stop, path) for stop in stops])


def _without(module: fx.GraphModule, lowered: Lowered, stops: Iterable[tuple[int, set[int]]]) -> fx.GraphModule:
    """Copy a recorded graph without the given stops, each for those of its users that are on the path beside it."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    result = graph.graph_copy(module.graph, copies)
    output = graph.output(result)
    copies[next(n for n in module.graph.nodes if n.op == "output")] = output
    for index, path in stops:
        node = copies[lowered.nodes[index]]
        if lowered.graph[index].name in _MODES:
            node.meta = node.meta | {"grad": True, "inference": False}
            continue
        source = node.args[0]
        inplace = node.op == "call_method" and node.target == "detach_"
        on_path = {copies[n] for i in path if (n := lowered.nodes.get(i)) in copies}
        for user in [user for user in node.users if inplace or user in on_path]:
            user.replace_input_with(node, source)  # type: ignore[arg-type]
        if inplace:
            graph.erase_node(node)
    return Recorded(module, graph)


def _path(graph: FlowGraph, statistic: Statistic) -> set[int]:
    """Return the nodes from a statistic's first stop or reduction to its use, by way of the reduction."""
    start = min(statistic.reduction, *statistic.stops) if statistic.stops else statistic.reduction
    return _between(graph, start, statistic.reduction) | _between(graph, statistic.reduction, statistic.use)


def _between(graph: FlowGraph, start: int, end: int) -> set[int]:
    forward = {start}
    for node in graph:
        if start < node.index <= end and node.kind is not Kind.STORE and forward.intersection(train_args(node)):
            forward.add(node.index)
    todo, path = [end], {end}
    while todo:
        for arg in graph[todo.pop()].args:
            if arg in forward and arg not in path:
                path.add(arg)
                todo.append(arg)
    return path
