"""What becomes of running statistics: how a layer updates them, and where it uses them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from bnlint.flow.graph import FlowGraph, Mode, Node
from bnlint.flow.graph import Kind as NodeKind
from bnlint.flow.ops import Role, role
from bnlint.flow.sites import Site
from bnlint.flow.statistics import liveness, train_args
from bnlint.flow.traits import Kind, Trait

#: what a layer is called by, as opposed to what an outsider may call where no gradient is recorded
_ENTRIES = frozenset({"forward", "__call__", ""})


def traits(graph: FlowGraph, sites: list[Site]) -> Iterator[Trait]:
    """Yield what is to be said of the running statistics of a graph."""
    layer = Layer(graph, sites)
    if layer.stores:
        yield from _keeping_graphs(layer)


class Layer:
    """A flow graph, and what is computed of it once."""

    def __init__(self, graph: FlowGraph, sites: list[Site]) -> None:
        self.graph = graph
        self.sites = sites
        self.stores = [node for node in graph if node.kind is NodeKind.STORE and node.mode & Mode.TRAIN]

    @cached_property
    def live(self) -> list[bool]:
        """Whether each node carries a gradient; a variable that stands for a buffer is what was assigned to it."""
        return liveness(self.graph, variables=True)

    @cached_property
    def learned(self) -> list[bool]:
        """Whether each node is made of a parameter, or of a layer whose inside is not seen, by a differentiable way."""
        found: list[bool] = []
        for node in self.graph:
            own = node.kind is NodeKind.PARAMETER or node.name == "call"
            found.append(own or any(found[arg] for arg in train_args(node)))
        return found

    @property
    def trains(self) -> bool:
        """Whether a gradient comes into the layer: it normalizes by batch statistics, or has parameters of its own."""
        outputs = (node for node in self.graph if node.kind is NodeKind.OUTPUT)
        return bool(self.sites) or any(self.learned[node.index] for node in outputs)

    @property
    def entered(self) -> bool:
        """Whether this is how the layer is called, with the grad mode of training."""
        symbol = next((node.origin.symbol for node in self.stores if node.origin.symbol), "")
        return symbol.rpartition(".")[2] in _ENTRIES

    def behind(self, index: int, live: bool = False) -> Iterator[Node]:
        """Yield a node and all that it is made of; with `live`, only what gradients flow back to."""
        todo, seen = [index], {index}
        while todo:
            node = self.graph[todo.pop()]
            yield node
            for arg in train_args(node):
                if arg not in seen and (self.live[arg] or not live):
                    seen.add(arg)
                    todo.append(arg)

    def content(self, store: Node) -> int:
        """Return what a buffer holds after an update."""
        content = store.attributes.get("content", store.args[0])
        assert isinstance(content, int)
        return content

    def accumulates(self, store: Node) -> bool:
        """Whether an update mixes the old value of a buffer with a new one."""
        return any(
            node.kind is NodeKind.BUFFER and node.name == store.name for node in self.behind(self.content(store))
        )

    def batch_statistic(self, store: Node, live: bool = False) -> Node | None:
        """Return the statistic of an input that an update takes in."""
        for node in self.behind(store.args[0], live):
            if (
                node.kind is NodeKind.OP
                and role(node.name) is Role.REDUCTION
                and any(n.kind is NodeKind.INPUT for n in self.behind(node.index, live))
            ):
                return node
        return None


def _keeping_graphs(layer: Layer) -> Iterator[Trait]:
    if not layer.entered or not layer.trains:
        return
    for store in layer.stores:
        how = store.attributes
        if not how.get("recorded") or how.get("local") or how.get("around") or not layer.live[store.args[0]]:
            continue
        statistic = layer.batch_statistic(store, live=True) if layer.accumulates(store) else None
        if statistic is not None:
            yield Trait(
                Kind.KEEPS_GRAPH,
                store.name,
                store.index,
                f"{store.name} is updated with a statistic that carries a gradient: it keeps the graph of every step",
                (("statistic", "the statistic is computed here", statistic.index),),
                operand=store.index,
            )
