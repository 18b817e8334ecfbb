"""How running statistics are updated, and whether that is what the layer means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from bnlint.flow import lagging
from bnlint.flow.coefficients import rest, terms
from bnlint.flow.graph import FlowGraph, Node
from bnlint.flow.graph import Kind as NodeKind
from bnlint.flow.sites import Site
from bnlint.flow.state import Running
from bnlint.flow.statistics import reduced
from bnlint.flow.traits import Kind, Trait

_MOMENTUM = re.compile(r"(self\.)?(?P<name>\w*momentum)$")
#: a momentum up to this is meant as the weight of the new value; torch's default
_NEW_VALUE, _DEFAULT = 0.5, 0.1


def traits(graph: FlowGraph, sites: Sequence[Site]) -> Iterator[Trait]:
    """Yield what is to be said of the running statistics of a graph."""
    running = Running(graph, sites)
    if running.stores:
        yield from _keeping_graphs(running)
        yield from _outside_the_state_dict(running)
        yield from _biased(running)
        yield from _reversed(running)
    yield from lagging.traits(running)


def _keeping_graphs(running: Running) -> Iterator[Trait]:
    if not running.entered or not running.trains:
        return
    for store in running.stores:
        how = store.attributes
        if not how.get("recorded") or how.get("local") or how.get("around") or not running.live[store.args[0]]:
            continue
        statistic = running.batch_statistic(store, live=True) if running.accumulates(store) else None
        if statistic is not None and running.normalizes(store, statistic):
            yield Trait(
                Kind.KEEPS_GRAPH,
                store.name,
                running.place(store),
                f"{store.name} is updated with a statistic that carries a gradient: it keeps the graph of every step",
                (("statistic", "the statistic is computed here", statistic.index),),
                operand=running.place(store),
            )


def _outside_the_state_dict(running: Running) -> Iterator[Trait]:
    owner = running.graph.owner
    for node in running.graph:
        if owner is None or not running.module or node.kind is not NodeKind.BUFFER or not node.origin.location:
            continue
        updates = [store for store in running.stores if store.name == node.name and running.accumulates(store)]
        found = [(store, s) for store in updates if (s := running.batch_statistic(store)) is not None]
        statistics = [statistic for store, statistic in found if running.normalizes(store, statistic)]
        if node.name in owner.unregistered and statistics:
            yield Trait(
                Kind.NOT_A_BUFFER,
                node.name,
                node.index,
                f"{node.name} is a plain attribute: no checkpoint holds it, and .to() does not move it",
                (("statistic", "it is updated with this statistic", statistics[0].index),),
                operand=node.index,
            )


def _biased(running: Running) -> Iterator[Trait]:
    for store in running.stores:
        if not store.name.endswith("running_var"):
            continue
        for term in terms(running.graph, running.content(store)):
            if len(term.factors) == 1 and term.factors[0] != "?" and _is_biased(running, term.node):
                yield Trait(
                    Kind.BIASED,
                    store.name,
                    store.index,
                    f"{store.name} is updated with the biased variance; torch's layers take n / (n - 1) of it",
                    (("statistic", "the biased variance is computed here", term.node),),
                )


def _is_biased(running: Running, index: int) -> bool:
    node = running.graph[index]
    if node.kind is not NodeKind.OP or not any(n.kind is NodeKind.INPUT for n in running.behind(index)):
        return False
    if node.name == "var":
        return node.attributes.get("correction") == 0
    source = reduced(running.graph, index) if node.name == "mean" else None
    return source is not None and source.squared and source.centered


def _reversed(running: Running) -> Iterator[Trait]:
    owner = running.graph.owner
    for store in running.stores:
        parts = terms(running.graph, running.content(store))
        old = [term.factors for term in parts if _is_old(running, store, term.node)]
        new = [term.factors for term in parts if not _is_old(running, store, term.node)]
        named = _MOMENTUM.match(old[0][0]) if len(old) == 1 and len(old[0]) == 1 else None
        if owner is None or named is None or new != [(rest(old[0][0]),)] or running.batch_statistic(store) is None:
            continue
        momentum = owner.defaults.get(named["name"], _DEFAULT if running.native else None)
        if momentum is not None and 0 < momentum < _NEW_VALUE:
            yield Trait(
                Kind.MOMENTUM_REVERSED,
                store.name,
                store.index,
                f"momentum ({momentum:g} by default) weighs the old {store.name}; in torch it weighs the new value",
            )


def _is_old(running: Running, store: Node, index: int) -> bool:
    node = running.graph[index]
    return node.kind is NodeKind.BUFFER and node.name == store.name
