"""Which statistic normalizes its own input, and what stops its gradient on the way.

The rule is the first merge: follow a statistic forward to the first operation that joins it with a live tensor that
still holds, element by element, the values the statistic was computed from. If the statistic's operand carries no
gradient there, its gradient is stopped, and the first stop on the way is the cause.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace

from bnlint.flow.analysis import SCALES, Analysis, Join, joins
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.ops import DECLARED, EXTREMES
from bnlint.flow.purposes import RENORMALIZED, SWITCHED, Purpose, purpose_of, switched
from bnlint.flow.statistics import Reduced
from bnlint.flow.traits import Gradient


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic that normalizes its own input.

    Attributes:
        name: `mean`, `var`, `std`, `norm` or `rms`.
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
class _Paths:
    """The ways from one statistic to one operation that applies it: the stops on each."""

    reduction: int
    use: int
    stops: list[tuple[int, ...]]

    @property
    def stopped(self) -> tuple[int, ...]:
        """Every stop on a way, in flow order."""
        return tuple(dict.fromkeys(stop for path in self.stops for stop in path))

    @property
    def gradient(self) -> Gradient:
        """Whether the gradient flows on all ways, on none, or on some."""
        if not self.stopped:
            return Gradient.FLOWS
        return Gradient.STOPPED if all(self.stops) else Gradient.UNKNOWN


def find_sites(graph: FlowGraph, given_back: Container[str] = ()) -> list[Site]:
    """Find the normalizations of a graph that training runs through, in order of their statistics.

    Args:
        graph: A flow graph.
        given_back: Attributes of `self` that another method multiplies by or adds: what they hold is given back.
    """
    analysis = Analysis(graph)
    if not analysis.sources:
        return []
    applied: dict[tuple[int, int], _Paths] = {}
    returned = {
        leaf.reduction for name, node in graph.kept.items() if name in given_back for leaf in analysis.within(node)
    }
    given: dict[int, list[Join]] = defaultdict(list)
    corrections: dict[int, _Paths] = {}
    for node in graph:
        if analysis.trains(node):
            for join in joins(node):
                renormalizes = analysis.holds_buffer(join.operand)
                for leaf in analysis.given_back(join):
                    if renormalizes and leaf.stops:
                        corrections[leaf.reduction] = _Paths(leaf.reduction, node.index, [leaf.stops])
                    elif not renormalizes:
                        given[leaf.reduction].append(join)
                for leaf in analysis.applied(node, join):
                    paths = applied.setdefault((leaf.reduction, node.index), _Paths(leaf.reduction, node.index, []))
                    source = analysis.sources[leaf.reduction]
                    paths.stops.append(source.optional + source.stops + leaf.stops)
                    if source.optional:
                        paths.stops.append(source.stops + leaf.stops)
    returned |= {
        reduction
        for (reduction, use), paths in applied.items()
        if paths.stopped and any(_gives_back(analysis, join, use) for join in given[reduction])
    }
    return _grouped(analysis, applied, returned, corrections)


def _gives_back(analysis: Analysis, join: Join, use: int) -> bool:
    """Whether what a statistic is given to was normalized by it, and the statistic itself is given, not its result.

    A rotary embedding adds the normalized tensor to its own negative: that gives no mean back.
    """
    normalized = join.tensor == use or analysis.comes_after(join.tensor, use)
    return normalized and join.operand != use and not analysis.comes_after(join.operand, use)


def attributes_given(graph: FlowGraph) -> set[str]:
    """Name the attributes of `self`, set elsewhere, that a function multiplies a tensor by or adds to it."""
    analysis = Analysis(graph)
    attributes = {
        node.index: node.name.removeprefix("self.").partition(".")[0]
        for node in graph
        if node.kind is Kind.CONSTANT and node.name.startswith("self.")
    }
    given = [join for node in graph if node.name in {"mul", "add"} for join in joins(node)]
    return {
        name
        for join in given
        if analysis.derived[join.tensor]
        for index, name in attributes.items()
        if analysis.values[join.operand] >> index & 1
    }


def _grouped(
    analysis: Analysis,
    applied: Mapping[tuple[int, int], _Paths],
    given_back: Container[int],
    corrections: Mapping[int, _Paths],
) -> list[Site]:
    """One statistic per reduction (its stopped use first, else its first use), one site per normalized tensor."""
    graph, sources = analysis.graph, analysis.sources
    best: dict[int, Statistic] = {}
    reductions = {reduction for reduction, _ in applied}
    centered = {origin for r in reductions if (origin := _centered_tensor(graph, sources, r)) is not None}
    for paths in applied.values():
        if any(graph[stop].name == "collective" for stop in paths.stopped):
            # The way around it is that of a process without others.
            paths.stops[:] = [path for path in paths.stops if path]
    for (reduction, _), paths in sorted(applied.items()):
        known = best.get(reduction)
        if known is None or (paths.gradient is Gradient.STOPPED and known.gradient is not Gradient.STOPPED):
            name = _name(graph, sources[reduction], reduction, centered)
            sibling = _has_live_sibling(analysis, applied, paths)
            best[reduction] = _statistic(analysis, paths, name, reduction in given_back, sibling)
    for reduction, paths in corrections.items():
        statistic = best.get(reduction)
        if statistic is not None and statistic.gradient is Gradient.FLOWS:
            best[reduction] = replace(statistic, stops=paths.stopped, use=paths.use, purpose=RENORMALIZED)
    by_input: dict[int, list[Statistic]] = defaultdict(list)
    for reduction, statistic in sorted(best.items()):
        by_input[sources[reduction].candidates[-1]].append(statistic)
    return [Site(tensor, tuple(statistics)) for tensor, statistics in by_input.items()]


def _has_live_sibling(analysis: Analysis, applied: Mapping[tuple[int, int], _Paths], paths: _Paths) -> bool:
    """Whether another branch takes the same kind of statistic of the same tensor, and leaves its gradient be."""
    origin, kind = analysis.sources[paths.reduction].candidates[-1], analysis.graph[paths.reduction].name
    return any(
        other.reduction != paths.reduction
        and other.gradient is Gradient.FLOWS
        and analysis.graph[other.reduction].name == kind
        and analysis.sources[other.reduction].candidates[-1] == origin
        and analysis.graph[other.use].name == analysis.graph[paths.use].name
        and analysis.chosen(other.use, paths.use)
        for other in applied.values()
    )


def _statistic(analysis: Analysis, paths: _Paths, name: str, given_back: bool, sibling: bool) -> Statistic:
    purpose: Purpose | None = None
    exchanged = any(analysis.graph[stop].name == "collective" for stop in paths.stopped)  # a flag guards those anyway
    if paths.stopped and not exchanged and (sibling or switched(analysis, paths.reduction, paths.use, paths.stopped)):
        purpose = SWITCHED
    elif paths.gradient is Gradient.STOPPED:
        purpose = purpose_of(analysis, paths.reduction, paths.use, given_back)
    return Statistic(name, paths.reduction, paths.gradient, paths.stopped, paths.use, purpose)


def _centered_tensor(graph: FlowGraph, sources: dict[int, Reduced], reduction: int) -> int | None:
    """The tensor that is centered by a mean applied to it."""
    source = sources[reduction]
    scales = source.squared or graph[reduction].name in SCALES | EXTREMES
    return None if scales else source.candidates[-1]


def _name(graph: FlowGraph, source: Reduced, reduction: int, centered: set[int]) -> str:
    name = graph[reduction].name
    if name not in {"mean", "sum"}:
        return "statistic" if name == DECLARED else name
    if source.absolute or not source.squared:
        return "norm" if source.absolute else "mean"
    return "var" if source.centered or source.candidates[-1] in centered else "rms"
