"""The running statistics of a layer, as its flow graph shows them: the updates, what goes in, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property

from bnlint.flow.graph import FlowGraph, Kind, Mode, Node
from bnlint.flow.ops import Role, role
from bnlint.flow.sites import Site
from bnlint.flow.statistics import liveness, reduced

#: how running statistics are called
RUNNING = re.compile(r"(running|moving)_(mean|avg|var|variance|std)\w*$")
#: last names of the classes that are torch's batch normalization
NATIVE = re.compile(r"_?(Sync)?BatchNorm([123]d)?$|_NormBase$")
#: what a layer is called by, as opposed to what an outsider may call where no gradient is recorded
_ENTRIES = frozenset({"forward", "__call__", ""})
_ELEMENTWISE = frozenset({Role.SHAPE, Role.POINTWISE, Role.ARITHMETIC})


def args_in(node: Node, mode: Mode) -> tuple[int, ...]:
    """Return the arguments of a node that reach it in a mode (a merge lists the mode of each branch)."""
    modes = node.attributes.get("modes")
    if node.kind is not Kind.MERGE or not isinstance(modes, tuple):
        return node.args
    return tuple(arg for arg, own in zip(node.args, modes, strict=True) if own & mode)


class Running:
    """A flow graph, and what its rules ask of it."""

    def __init__(self, graph: FlowGraph, sites: Sequence[Site]) -> None:
        self.graph = graph
        self.sites = sites
        stores = (node for node in graph if node.kind is Kind.STORE and node.mode & Mode.TRAIN)
        owner = graph.owner
        self.stores = [node for node in stores if owner is None or node.name in owner.state]

    @cached_property
    def live(self) -> list[bool]:
        """Whether each node carries a gradient; a variable that stands for a buffer is what was assigned to it."""
        return liveness(self.graph, variables=True)

    @property
    def native(self) -> bool:
        """Whether the class is one of torch's batch normalizations."""
        owner = self.graph.owner
        return owner is not None and any(NATIVE.match(base) for base in owner.bases)

    @property
    def module(self) -> bool:
        """Whether the class is a module of torch."""
        return self.native or (self.graph.owner is not None and "Module" in self.graph.owner.bases)

    @property
    def entered(self) -> bool:
        """Whether this is how the layer is called, with the grad mode of training."""
        return self.graph.owner is not None and self.graph.owner.method in _ENTRIES

    @property
    def trains(self) -> bool:
        """Whether a gradient comes into the layer: it normalizes by batch statistics, or has parameters of its own."""
        outputs = (node.index for node in self.graph if node.kind is Kind.OUTPUT)
        return self.native or bool(self.sites) or any(self.learned(index) for index in outputs)

    def learned(self, index: int) -> bool:
        """Whether a value is made of a parameter, or by a layer whose inside is not seen."""
        return any(node.kind is Kind.PARAMETER or node.name == "call" for node in self.behind(index))

    def behind(self, index: int, mode: Mode = Mode.TRAIN, *, live: bool = False) -> Iterator[Node]:
        """Yield a node and all that it is made of in a mode; with `live`, only what gradients flow back to."""
        todo, seen = [index], {index}
        while todo:
            node = self.graph[todo.pop()]
            yield node
            for arg in args_in(node, mode):
                if arg not in seen and (self.live[arg] or not live):
                    seen.add(arg)
                    todo.append(arg)

    def content(self, store: Node) -> int:
        """Return what a buffer holds after an update."""
        content = store.attributes.get("content", store.args[0])
        return content if isinstance(content, int) else store.args[0]

    def place(self, store: Node) -> int:
        """Return where an update stands in the text: at the store, or at the variable that was stored."""
        made = (node for node in self.behind(store.index) if node.kind is Kind.STORE and node.name == store.name)
        return next((node.index for node in made if node.origin.location is not None), store.index)

    def accumulates(self, store: Node) -> bool:
        """Whether an update mixes the old value of a buffer with a new one."""
        return any(node.kind is Kind.BUFFER and node.name == store.name for node in self.behind(self.content(store)))

    def batch_statistic(self, store: Node, *, live: bool = False) -> Node | None:
        """Return the statistic of an input that an update takes in."""
        for node in self.behind(store.args[0], live=live):
            if node.kind is Kind.OP and role(node.name) is Role.REDUCTION and self._of_input(node, live):
                return node
        return None

    def _of_input(self, reduction: Node, live: bool) -> bool:
        return any(node.kind is Kind.INPUT for node in self.behind(reduction.index, live=live))

    def sources(self, reduction: Node) -> frozenset[int]:
        """Return the nodes that are the tensor whose statistic this is, in some layout or type."""
        return frozenset(reduced(self.graph, reduction.index).candidates)

    def normalizes(self, store: Node, statistic: Node) -> bool:
        """Whether a buffer is what its name says, or goes with a normalization of what its statistic is of."""
        sources = self.sources(statistic)
        if RUNNING.match(store.name) or any(
            sources & self.sources(self.graph[s.reduction]) for site in self.sites for s in site.statistics
        ):
            return True
        return any(
            sources & self.held(tensor, mode) and store.name in self.buffers_alone(operand, mode)
            for mode in (Mode.TRAIN, Mode.EVAL)
            for _, tensor, operand in self.normalizing(mode)
        )

    def held(self, index: int, mode: Mode) -> set[int]:
        """Return the nodes whose values a tensor still holds element by element."""
        todo, seen = [index], {index}
        while todo:
            node = self.graph[todo.pop()]
            if node.kind in {Kind.MERGE, Kind.STOP} or (node.kind is Kind.OP and role(node.name) in _ELEMENTWISE):
                following = set(args_in(node, mode)) - seen
                seen |= following
                todo += following
        return seen

    def buffers_alone(self, index: int, mode: Mode) -> set[str]:
        """Return the buffers that an expression is made of, empty where anything else goes in."""
        names: set[str] = set()
        for node in self.behind(index, mode):
            match node.kind:
                case Kind.BUFFER:
                    names.add(node.name)
                case Kind.CONSTANT | Kind.STOP | Kind.MERGE:
                    continue
                case Kind.OP if role(node.name) in _ELEMENTWISE | {Role.PART}:
                    continue
                case _:
                    return set()
        return names

    def normalizing(self, mode: Mode) -> Iterator[tuple[Node, int, int]]:
        """Yield each operation that centers or scales a tensor by an operand in a mode, with the two."""
        for node in self.graph:
            if node.kind is not Kind.OP or not node.mode & mode or not self._reaches_output(node.index, mode):
                continue
            match node.name, node.args:
                case "batch_norm", (tensor, mean, var, *_):
                    yield node, tensor, mean
                    yield node, tensor, var
                case "sub" | "add" | "mul" | "div", (a, b):
                    yield node, a, b
                    if node.name in {"add", "mul"}:
                        yield node, b, a

    def _reaches_output(self, index: int, mode: Mode) -> bool:
        return index in self._reaching[mode]

    @cached_property
    def _reaching(self) -> dict[Mode, set[int]]:
        outputs = [node.index for node in self.graph if node.kind is Kind.OUTPUT]
        modes = (Mode.TRAIN, Mode.EVAL)
        return {mode: {n.index for output in outputs for n in self.behind(output, mode)} for mode in modes}

    def affine(self, index: int) -> bool:
        """Whether what follows a node element by element brings a parameter in: the weight and bias of a layer."""
        reached = {index}
        for node in self.graph:
            if node.kind in {Kind.OP, Kind.MERGE, Kind.STOP} and not reached.isdisjoint(node.args):
                if node.kind is Kind.OP and role(node.name) not in _ELEMENTWISE:
                    continue
                reached.add(node.index)
                others = [arg for arg in node.args if arg not in reached]
                if any(n.kind is Kind.PARAMETER for arg in others for n in self.behind(arg)):
                    return True
        return False
