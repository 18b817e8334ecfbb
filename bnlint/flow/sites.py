"""Which statistic normalizes its own input, and what stops its gradient on the way.

The rule is the first merge: follow a statistic forward to the first operation that joins it with a live tensor that
still holds, element by element, the values the statistic was computed from. If the statistic's operand carries no
gradient there, its gradient is stopped, and the first stop on the way is the cause.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum

from bnlint.flow.graph import FlowGraph, Kind, Mode, Node
from bnlint.flow.ops import EXTREMES, Role, role
from bnlint.flow.purposes import REAPPLIED, Purpose
from bnlint.flow.statistics import (
    Leaf,
    Reduced,
    carried,
    centered_before,
    leaves,
    liveness,
    reduced,
    squares,
    train_args,
)


class Gradient(StrEnum):
    """What is known of the gradient of a statistic."""

    FLOWS = "flows"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


#: reductions that say how large a tensor is when they reduce absolute values
_OF_MAGNITUDES = frozenset({"norm", "max", "min", "median", "quantile"})
_SCALE_INVARIANT = frozenset({"layer_norm", "group_norm", "instance_norm", "normalize"})
_SHIFT_INVARIANT = frozenset({"var", "std", "softmax", "log_softmax", "layer_norm"})


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic that normalizes its own input.

    Attributes:
        name: `mean`, `var`, `std`, `norm`, `rms`, or the name of another reduction.
        reduction: The node that computes it.
        gradient: Whether its gradient flows in training.
        stops: The stops on its way, in flow order; the first one is the cause.
        use: The node that applies it to its own input.
        purpose: Why its stop is meant or does little harm, None where nothing says so.
    """

    name: str
    reduction: int
    gradient: Gradient
    stops: tuple[int, ...]
    use: int
    purpose: Purpose | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """One normalization: a tensor, and the statistics of it that are applied to it."""

    input: int
    statistics: tuple[Statistic, ...]


@dataclass(frozen=True, slots=True)
class _Join:
    """A way in which a node may apply a statistic found in `operand` to `tensor`.

    A centering join subtracts what is positive in the operand when `flipped` is False, what is negative when it is
    True; a scaling join divides by what stands in its numerator when `flipped` is False, else in its denominator.
    """

    tensor: int
    operand: int
    centers: bool
    flipped: bool


def find_sites(graph: FlowGraph) -> list[Site]:
    """Find the normalizations of a graph that training runs through, in order of their statistics."""
    analysis = _Analysis(graph)
    if not analysis.sources:
        return []
    paths: dict[tuple[int, int], list[tuple[int, ...]]] = defaultdict(list)
    reapplied: set[int] = set()
    for node in graph:
        if analysis.trains(node):
            for join in _joins(node):
                reapplied |= analysis.reapplied(join)
                for leaf in analysis.applied(node, join):
                    paths[leaf.reduction, node.index].append(analysis.sources[leaf.reduction].stops + leaf.stops)
                    if leaf.switched:
                        paths[leaf.reduction, node.index].append(())
    return _grouped(graph, analysis.sources, paths, reapplied)


def _joins(node: Node) -> list[_Join]:
    if node.name == "batch_norm" and len(node.args) >= 3:
        return [_Join(node.args[0], node.args[1], True, False), _Join(node.args[0], node.args[2], False, False)]
    if len(node.args) != 2:
        return []
    a, b = node.args
    match node.name:
        case "sub" | "rsub":
            return [_Join(a, b, True, False), _Join(b, a, True, False)]
        case "add":
            return [_Join(a, b, True, True), _Join(b, a, True, True)]
        case "mul":
            return [_Join(a, b, False, True), _Join(b, a, False, True)]
        case "div":
            return [_Join(a, b, False, False)]
        case "rdiv":
            return [_Join(b, a, False, False)]
        case _:
            return []


class _Analysis:
    """What is computed once per graph."""

    def __init__(self, graph: FlowGraph) -> None:
        self.graph = graph
        self.sources: dict[int, Reduced] = {
            node.index: reduced(graph, node.index)
            for node in graph
            if node.kind is Kind.OP and role(node.name) is Role.REDUCTION and node.args
        }
        if not self.sources:
            return
        self.live = liveness(graph)
        self.derived = self._derived()
        self.attached = carried(graph, self.live)
        self.values = carried(graph)
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
            own = node.kind is Kind.INPUT or any(derived[arg] for arg in train_args(node))
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

    def order(self, leaf: Leaf) -> int:
        """1 for a mean, 2 for a variance and its kin, 0 for what is neither: a mean of absolute values."""
        name, source = self.graph[leaf.reduction].name, self.sources[leaf.reduction]
        if source.magnitude and not (source.squared or source.centered):
            return 2 if name in _OF_MAGNITUDES else 0
        return 2 if name in {"var", "std", "norm"} or source.squared or source.magnitude else 1

    def within(self, operand: int) -> list[Leaf]:
        """List the statistics that an operand is made of."""
        if operand not in self.leaves:
            self.leaves[operand] = leaves(self.graph, operand, self.live)
        return self.leaves[operand]

    def reapplied(self, join: _Join) -> set[int]:
        """Return the stopped statistics that a join gives to a tensor made of an input, rather than takes from it."""
        if not self.derived[join.tensor]:
            return set()
        order, sign = (1, "negative") if join.centers else (2, "inverted")
        return {
            leaf.reduction
            for leaf in self.within(join.operand)
            if leaf.stops
            and self.order(leaf) == order
            and getattr(leaf, sign) != join.flipped
            and (join.centers is False or not leaf.inverted)
        }

    def applied(self, node: Node, join: _Join) -> list[Leaf]:
        """List the statistics of a join's tensor that the join centers or scales it by."""
        if not self.live[join.tensor]:
            return []
        own = [
            leaf
            for leaf in self.within(join.operand)
            if leaf.reduction in self.sources
            and self.attached[join.tensor] & self.masks[leaf.reduction]
            and not self.values[join.operand] & self.masks[leaf.reduction]
        ]
        if join.centers:
            if not own or self._only_used_by(node, _SHIFT_INVARIANT, squared=True):
                return []
            centers = [x for x in own if self._shifts(node, x) and not x.inverted and x.negative == join.flipped]
            return [x for x in centers if not centered_before(self.graph, x.reduction)]
        # A mean beside a mean of squares is part of the variance: E[x²] - mean².
        scales = [x for x in own if x.inverted == join.flipped]
        strong = [x for x in scales if self.order(x) == 2]
        largest = [x for x in scales if self.graph[x.reduction].name in EXTREMES]
        return scales if strong or (largest and not self._only_used_by(node, _SCALE_INVARIANT)) else []

    def _shifts(self, node: Node, leaf: Leaf) -> bool:
        """Whether a statistic centers; a minimum does where what is left is divided by a statistic as well."""
        if self.graph[leaf.reduction].name not in EXTREMES:
            return self.order(leaf) == 1
        return not self.sources[leaf.reduction].magnitude and self._rescaled(node, leaf.reduction)

    def _rescaled(self, node: Node, reduction: int) -> bool:
        """Whether a shifted tensor is divided by a statistic of the tensor that it was shifted from."""
        scales = [
            leaf
            for user in self.users[node.index]
            for join in _joins(self.graph[user])
            if not join.centers and join.tensor == node.index
            for leaf in self.within(join.operand)
            if leaf.inverted == join.flipped
        ]
        return any(self.masks.get(leaf.reduction, 0) & self.masks[reduction] for leaf in scales)

    def _only_used_by(self, node: Node, invariant: frozenset[str], *, squared: bool = False) -> bool:
        """Whether a tensor is used for nothing but what does not change with its shift or scale.

        The derivative of mean((x - m)²) with respect to m is zero at the mean, and softmax and layer norm do not
        change under a shift: a stop of m does no harm there.
        """
        todo = [node.index]
        while todo:
            for index in self.users[todo.pop()]:
                user = self.graph[index]
                if user.name in invariant or (squared and user.kind is Kind.OP and squares(self.graph, user)):
                    continue
                if user.kind is not Kind.OP or role(user.name) not in {Role.SHAPE, Role.PART}:
                    return False
                todo.append(index)
        return True


def _grouped(
    graph: FlowGraph,
    sources: dict[int, Reduced],
    paths: dict[tuple[int, int], list[tuple[int, ...]]],
    reapplied: set[int],
) -> list[Site]:
    """One statistic per reduction (its stopped use first, else its first use), one site per normalized tensor."""
    best: dict[int, Statistic] = {}
    centered = {origin for r in {r for r, _ in paths} if (origin := _centered_tensor(graph, sources, r)) is not None}
    for (reduction, use), stops in sorted(paths.items()):
        stopped = [path for path in stops if path]
        gradient = (
            Gradient.FLOWS if not stopped else Gradient.UNKNOWN if len(stopped) < len(stops) else Gradient.STOPPED
        )
        candidate = Statistic(
            _name(graph, sources[reduction], reduction, centered),
            reduction,
            gradient,
            tuple(dict.fromkeys(stop for path in stopped for stop in path)),
            use,
            REAPPLIED if reduction in reapplied else None,
        )
        known = best.get(reduction)
        if known is None or (gradient is Gradient.STOPPED and known.gradient is not Gradient.STOPPED):
            best[reduction] = candidate
    by_input: dict[int, list[Statistic]] = defaultdict(list)
    for reduction, statistic in sorted(best.items()):
        by_input[sources[reduction].candidates[-1]].append(statistic)
    return [Site(tensor, tuple(statistics)) for tensor, statistics in by_input.items()]


def _centered_tensor(graph: FlowGraph, sources: dict[int, Reduced], reduction: int) -> int | None:
    """The tensor that is centered by a mean applied to it."""
    source = sources[reduction]
    return None if source.squared or graph[reduction].name in {"var", "std", "norm"} else source.candidates[-1]


def _name(graph: FlowGraph, source: Reduced, reduction: int, centered: set[int]) -> str:
    name = graph[reduction].name
    if name not in {"mean", "sum"}:
        return name
    if not source.squared:
        return "mean"
    return "var" if source.centered or source.candidates[-1] in centered else "rms"
