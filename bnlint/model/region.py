"""A normalization that is no layer of its own, cut out of a recorded step so that it can be measured like one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from bnlint.errors import InputError
from bnlint.flow.sites import Site
from bnlint.model.capture import Capture, plain_run, train
from bnlint.model.lower import Lowered
from bnlint.model.replay import Replay
from bnlint.model.state import first_line, preserved

_NO_AUTOCAST = {"autocast": (False, None)}


class Region(nn.Module):
    """The operations from a tensor to where the statistics of it have been applied to it.

    What they use beside the tensor (weights, running statistics, other activations) is held as it was in the recorded
    step.
    """

    def __init__(self, graph_module: fx.GraphModule, values: Iterable[Any]) -> None:
        super().__init__()
        self.graph_module = [graph_module]  # in a list: it is no layer, and holds nothing of its own
        self.others = list(values)
        for index, value in enumerate(self.others):
            if isinstance(value, Tensor):
                self.register_buffer(f"value_{index}", value)

    def forward(self, x: Tensor) -> Any:
        """Run the operations on another tensor."""
        held = dict(self.named_buffers())
        others = [held[f"value_{i}"].clone() if isinstance(v, Tensor) else v for i, v in enumerate(self.others)]
        return Replay(self.graph_module[0]).run(x.clone(), *others)


def cut_out(
    model: nn.Module, captured: Capture, lowered: Lowered, sites: Collection[Site]
) -> list[tuple[Region, Tensor]]:
    """Cut normalizations out of a recorded step of a model, each with the tensor that it normalized there.

    Raises:
        InputError: The recorded step cannot be run again.
    """
    parts = [Part(lowered, site) for site in sites]
    wanted = {node for part in parts for node in (part.start, *part.others)}
    values = _values(model, captured, wanted)
    return [(Region(part.graph_module, [values[node] for node in part.others]), values[part.start]) for part in parts]


def is_activation(lowered: Lowered, site: Site) -> bool:
    """Whether what a site normalizes is made of the model's input, and not of parameters alone."""
    todo, seen = [lowered.nodes[site.input]], {lowered.nodes[site.input]}
    while todo:
        node = todo.pop()
        if node.op == "placeholder":
            return True
        new = [source for source in node.all_input_nodes if source not in seen]
        seen.update(new)
        todo += new
    return False


class Part:
    """The nodes of a site.

    Attributes:
        start: What it normalizes.
        ends: What it makes of it.
        others: What it uses beside it.
        inside: The nodes between, the ends among them.
        graph_module: The operations between.
    """

    def __init__(self, lowered: Lowered, site: Site) -> None:
        uses = [lowered.nodes[statistic.use] for statistic in site.statistics]
        self.start = _tensor(_common(lowered, site), uses)
        inside = _between(self.start, uses)
        self.ends = [use for use in dict.fromkeys(uses) if not any(user in inside for user in use.users)] or uses[-1:]
        self.inside = frozenset(inside)
        order = [node for node in self.start.graph.nodes if node in inside]
        used = dict.fromkeys(source for node in order for source in node.all_input_nodes)
        self.others = [node for node in used if node is not self.start and node not in inside]
        self.graph_module = fx.GraphModule(nn.Module(), self._copied(order, self.ends))

    def _copied(self, order: list[fx.Node], ends: list[fx.Node]) -> fx.Graph:
        graph = fx.Graph()
        copies = {node: graph.placeholder(f"input_{index}") for index, node in enumerate((self.start, *self.others))}
        for node in order:
            copies[node] = graph.node_copy(node, copies.__getitem__)
            copies[node].meta = node.meta | _NO_AUTOCAST
        graph.output(tuple(copies[node] for node in ends))
        return graph


def _common(lowered: Lowered, site: Site) -> fx.Node:
    """Return what all statistics of a site are made of: a part that is taken anew for each use comes of the whole."""
    index = site.input
    while index in lowered.again:
        index = lowered.graph[index].args[0]
    return lowered.nodes[index]


def _tensor(start: fx.Node, uses: Collection[fx.Node]) -> fx.Node:
    """Return the tensor that a site normalizes.

    Of a call that returns several, it is the one that all uses are made of; where several are used, as when channels
    are split and normalized one by one, it is the tensor that the call takes apart.
    """
    if "shape" in start.meta:
        return start
    for part in start.users:
        if _between(part, uses).issuperset(uses):
            return _tensor(part, uses)
    whole = [source for source in start.all_input_nodes if "shape" in source.meta]
    if len(whole) != 1:
        raise InputError("what a statistic is of cannot be told from the recorded step")
    return whole[0]


def _between(start: fx.Node, ends: Iterable[fx.Node]) -> set[fx.Node]:
    """Return the nodes that are made of `start`, and that `ends` are made of, ends included."""
    after: set[fx.Node] = set()
    todo = [start]
    while todo:
        new = [user for user in todo.pop().users if user not in after and user.op != "output"]
        after.update(new)
        todo += new
    before = set(ends)
    todo = list(before)
    while todo:
        new = [node for node in todo.pop().all_input_nodes if node not in before and node in after]
        before.update(new)
        todo += new
    return before & after


class _Keeping(Replay):
    """Keeps the values of some nodes, as they are when they are made."""

    def __init__(self, module: fx.GraphModule, wanted: Collection[fx.Node]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n in self.wanted:
            self.values[n] = tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), value)
        return value


def _values(model: nn.Module, captured: Capture, wanted: Collection[fx.Node]) -> dict[fx.Node, Any]:
    keeping = _Keeping(captured.graph_module, wanted)
    with plain_run(), preserved(model), preserved(captured.graph_module, model.parameters()):
        train(model)
        try:
            keeping.run(*(tensor.clone() for tensor in captured.inputs))
        except Exception as error:
            what = f"the recorded step cannot be run again: {type(error).__name__}: {first_line(error)}"
            raise InputError(what) from error
    return keeping.values
