"""What is computed once per flow graph: what lives, what a statistic is of, which statistics an operand is made of."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Kind, Mode, Node
from bnlint.flow.leaves import Leaf, leaves
from bnlint.flow.ops import DECLARED, EXTREMES, Role, role
from bnlint.flow.reading import squares, train_args
from bnlint.flow.statistics import Reduced, carried, centered_before, liveness, reduced

_SHIFT_INVARIANT = frozenset({"var", "std", "softmax", "log_softmax", "layer_norm"})


#: reductions that a tensor is divided by, never centered by
SCALES = frozenset({"var", "std", "norm"})


_ELEMENTWISE = {Role.SHAPE, Role.PART, Role.POINTWISE, Role.ARITHMETIC}
_RUNNING = re.compile(r"_*(\w*running|moving|ema|avg|average)_?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Join:
    """A way in which a node may apply a statistic found in `operand` to `tensor`.

    A centering join subtracts what is positive in the operand when `flipped` is False, what is negative when it is
    True; a scaling join divides by what stands in its numerator when `flipped` is False, else in its denominator.
    """

    tensor: int
    operand: int
    centers: bool
    flipped: bool


class Analysis:
    """What is computed once per graph."""

    def __init__(self, graph: FlowGraph) -> None:
        self.graph = graph
        self.sources: dict[int, Reduced] = {
            node.index: reduced(graph, node.index)
            for node in graph
            if node.kind is Kind.OP and role(node.name) is Role.REDUCTION and node.args
        }
        self.live = liveness(graph)
        self.derived = self._derived()
        self.attached = carried(graph, self.live)
        self.values = carried(graph)
        self.buffers = sum(1 << node.index for node in graph if node.kind is Kind.BUFFER)
        self.running = sum(
            1 << node.index
            for node in graph
            if node.kind in {Kind.BUFFER, Kind.CONSTANT} and _RUNNING.match(node.name.removeprefix("self."))
        )
        self.users: dict[int, list[int]] = defaultdict(list)
        for node in graph:
            for arg in train_args(node):
                self.users[arg].append(node.index)
        self.reaching = self._reaching_output()
        self.masks = {index: sum(1 << c for c in set(r.candidates)) for index, r in self.sources.items()}
        self.leaves: dict[int, list[Leaf]] = {}

    def _derived(self) -> list[bool]:
        """Say for each node whether it is live and made of an input, rather than of parameters alone."""
        derived: list[bool] = []
        for node in self.graph:
            own = (
                node.kind is Kind.INPUT
                or bool(node.attributes.get("layer"))
                or any(derived[arg] for arg in train_args(node))
            )
            derived.append(own and self.live[node.index])
        return derived

    def _reaching_output(self) -> set[int]:
        todo = [node.index for node in self.graph if node.kind is Kind.OUTPUT and node.mode & Mode.TRAIN]
        reaching = set(todo)
        while todo:
            for arg in train_args(self.graph[todo.pop()]):
                if self.live[arg] and arg not in reaching:
                    reaching.add(arg)
                    todo.append(arg)
        return reaching

    def trains(self, node: Node) -> bool:
        """Whether a gradient of the output goes through a node in training."""
        return node.kind is Kind.OP and node.index in self.reaching and bool(node.mode & Mode.TRAIN)

    def centers(self, leaf: Leaf) -> bool:
        """Whether it is a mean or its kin; a declared statistic is what it is used as."""
        return self.graph[leaf.reduction].name == DECLARED or not self.scales(leaf)

    def scales(self, leaf: Leaf) -> bool:
        """Whether it is a variance or its kin; a declared statistic is what it is used as."""
        name = self.graph[leaf.reduction].name
        return name in SCALES or name in EXTREMES or name == DECLARED or self.sources[leaf.reduction].squared

    def within(self, operand: int) -> list[Leaf]:
        """List the statistics that an operand is made of."""
        if operand not in self.leaves:
            self.leaves[operand] = leaves(self.graph, operand)
        return self.leaves[operand]

    @functools.cached_property
    def _of_others(self) -> frozenset[int]:
        """The reductions of tensors that no input went into, such as parameters."""
        return frozenset(index for index, source in self.sources.items() if not self.derived[source.candidates[-1]])

    def given_back(self, join: Join) -> list[Leaf]:
        """List the statistics that a join gives to a tensor rather than takes from it.

        The tensor is made of an input, or the statistic is of something else, such as a parameter.
        """
        if not self.derived[join.tensor] and not self._of_others:
            return []
        return [
            leaf
            for leaf in self.within(join.operand)
            if (self.derived[join.tensor] or leaf.reduction in self._of_others)
            and (self.centers(leaf) if join.centers else self.scales(leaf))
            and (leaf.negative if join.centers else leaf.inverted) != join.flipped
            and not (join.centers and leaf.inverted)
        ]

    def comes_after(self, node: int, earlier: int) -> bool:
        """Whether a node depends on an earlier one."""
        todo, seen = [node], {node}
        while todo:
            for arg in train_args(self.graph[todo.pop()]):
                if arg == earlier:
                    return True
                if arg > earlier and arg not in seen:
                    seen.add(arg)
                    todo.append(arg)
        return False

    def chosen(self, one: int, other: int) -> bool:
        """Whether a branch that no mode decides takes one of two values or the other."""
        pair = 1 << one | 1 << other
        return any(
            node.kind is Kind.MERGE
            and node.attributes.get("switch")
            and len({self.values[arg] & pair for arg in node.args} & {1 << one, 1 << other}) == 2
            for node in self.graph
        )

    def holds_buffer(self, operand: int) -> bool:
        """Whether the values of a buffer are part of an operand."""
        return bool(self.values[operand] & self.buffers)

    def lags(self, operand: int) -> bool:
        """Whether a running statistic is mixed into an operand: it is no statistic of this batch alone."""
        if not self.values[operand] & self.running:
            return False
        todo, seen = [operand], {operand}
        while todo:
            node = self.graph[todo.pop()]
            if self.running >> node.index & 1:
                return True
            # One branch or the other is no mixture.
            if node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) in _ELEMENTWISE):
                todo += [arg for arg in node.args if arg not in seen]
                seen.update(node.args)
        return False

    def applied(self, node: Node, join: Join) -> list[Leaf]:
        """List the statistics of a join's tensor that the join centers or scales it by."""
        if not self.live[join.tensor] or self.lags(join.operand):
            return []
        own = [
            leaf
            for leaf in self.within(join.operand)
            if leaf.reduction in self.sources
            and self.attached[join.tensor] & self.masks[leaf.reduction]
            and not self.values[join.operand] & self.masks[leaf.reduction]
        ]
        if join.centers:
            if not own or self._cancels(node):
                return []
            centers = [x for x in own if self._shifts(node, x) and not x.inverted and x.negative == join.flipped]
            return [x for x in centers if not centered_before(self.graph, x.reduction)]
        # A mean beside a mean of squares is part of the variance: E[x²] - mean².
        scales = [x for x in own if x.inverted == join.flipped and not self._ratio(join, x)]
        return scales if any(self.scales(x) for x in scales) else []

    def _ratio(self, join: Join, leaf: Leaf) -> bool:
        """Whether one stop holds a ratio of sizes, of another tensor and of this one: it matches the two."""
        others = (x for x in self.within(join.operand) if self.scales(x) and x.inverted != leaf.inverted)
        shared = set(leaf.stops)
        return any(
            shared & set(x.stops) and not self.masks.get(x.reduction, 0) & self.masks[leaf.reduction] for x in others
        )

    def _shifts(self, node: Node, leaf: Leaf) -> bool:
        """Whether a statistic centers; a minimum does where what is left is divided by a statistic as well."""
        if self.graph[leaf.reduction].name not in EXTREMES:
            return self.centers(leaf)
        return not self.sources[leaf.reduction].squared and self._rescaled(node, leaf.reduction)

    def _rescaled(self, node: Node, reduction: int) -> bool:
        """Whether a shifted tensor is divided by a statistic of the tensor that it was shifted from."""
        scales = [
            leaf
            for user in self.users[node.index]
            for join in joins(self.graph[user])
            if not join.centers and join.tensor == node.index
            for leaf in self.within(join.operand)
            if leaf.inverted == join.flipped
        ]
        return any(self.masks.get(leaf.reduction, 0) & self.masks[reduction] for leaf in scales)

    def _cancels(self, node: Node) -> bool:
        """Whether a centered tensor is used for nothing but a variance or a softmax.

        The derivative of mean((x - m)²) with respect to m is zero at the mean, and softmax and layer norm do not
        change under a shift: a stop of m does no harm there.
        """
        todo = [node.index]
        while todo:
            for index in self.users[todo.pop()]:
                user = self.graph[index]
                if user.kind is Kind.OP and (squares(self.graph, user) or user.name in _SHIFT_INVARIANT):
                    continue
                if user.kind is not Kind.OP or role(user.name) not in {Role.SHAPE, Role.PART}:
                    return False
                todo.append(index)
        return True


def joins(node: Node) -> list[Join]:
    """List the ways in which a node may apply a statistic to a tensor."""
    if node.name == "batch_norm" and len(node.args) >= 3:
        return [Join(node.args[0], node.args[1], True, False), Join(node.args[0], node.args[2], False, False)]
    if len(node.args) != 2:
        return []
    a, b = node.args
    match node.name:
        case "sub" | "rsub":
            return [Join(a, b, True, False), Join(b, a, True, False)]
        case "add":
            return [Join(a, b, True, True), Join(b, a, True, True)]
        case "mul":
            return [Join(a, b, False, True), Join(b, a, False, True)]
        case "div":
            return [Join(a, b, False, False)]
        case "rdiv":
            return [Join(b, a, False, False)]
        case _:
            return []
