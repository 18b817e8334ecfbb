"""From the facts of a flow graph to what rules report, with the reasons that names and comments give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnlint.catalog import Fact, Rule, judge, severity
from bnlint.finding import Severity
from bnlint.flow.graph import FlowGraph
from bnlint.flow.judged import traits
from bnlint.flow.purposes import COMMENTED, LOSS, RAW, SWITCHED, WEIGHT, Purpose, weighs_a_loss
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.traits import Trait
from bnlint.source.intent import (
    enclosing,
    never_trained,
    normalizes_inputs,
    part_of_a_model,
    said_to_be_meant,
    switched_by_name,
)
from bnlint.source.text import SourceText


@dataclass(frozen=True, slots=True)
class Reported:
    """A fact that a rule reports."""

    rule: Rule
    fact: Fact | Trait
    statistic: Statistic | None = None

    @property
    def doubt(self) -> int:
        """How little is known for sure: reasons that the flow gives come first, guesses about data last."""
        purpose = self.fact.purpose if isinstance(self.fact, Fact) else None
        return 3 if purpose == RAW else severity(self.rule, self.fact).rank


def reported(text: SourceText, path: str, sites: Sequence[Site], graph: FlowGraph) -> list[Reported]:
    """List what rules report of a function in the file of this text and path."""
    facts: list[tuple[Fact | Trait, Statistic | None]] = [
        (_fact(text, path, graph, statistic), statistic)
        for site in sites
        for statistic in site.statistics
        if statistic.stops
        and not never_trained(graph[statistic.use].origin.symbol or "")
        and not weighs_a_loss(graph, statistic.reduction, statistic.purpose)
    ]
    facts += [(trait, None) for trait in traits(graph, sites)]
    return [
        Reported(rule, fact, statistic)
        for fact, statistic in facts
        if (rule := judge(fact, "static")) is not None and not _is_of_arrays(text, rule, fact)
    ]


#: stops that make plain numbers
_NUMBERS = frozenset({"item", "float", "tolist", "numpy"})
_ABOUT_TENSORS = frozenset({"BN104", "BN301", "BN302", "BN303", "BN304"})


def _is_of_arrays(text: SourceText, rule: Rule, fact: Fact | Trait) -> bool:
    """Whether a statistic is of arrays (`a.std()` where torch is not named), or a plain number that was wanted."""
    wanted = (
        rule.code == "BN104" and isinstance(fact, Fact) and fact.purpose not in {None, RAW, COMMENTED, LOSS, WEIGHT}
    )
    return wanted or (rule.code in _ABOUT_TENSORS and "torch" not in text.text)


def _fact(text: SourceText, path: str, graph: FlowGraph, statistic: Statistic) -> Fact:
    stop = graph[statistic.stops[0]]
    before = stop.index < statistic.reduction
    return Fact(statistic.name, statistic.gradient, stop.name, before, _purpose(text, path, graph, statistic))


def _purpose(text: SourceText, path: str, graph: FlowGraph, statistic: Statistic) -> Purpose | None:
    """Return the reason that the flow gives, or a better one that names and comments give."""
    stop = graph[statistic.stops[0]]
    given, where = statistic.purpose, stop.origin.location
    if given is not None and given.severity is Severity.NOTE:
        return given
    if where is not None and where.path == path:
        if said_to_be_meant(text, where):
            return COMMENTED
        if switched_by_name(text, where):
            return SWITCHED
        if normalizes_inputs(enclosing(text, where)):
            return RAW
    symbol = graph[statistic.use].origin.symbol or ""
    return RAW if stop.name in _NUMBERS and not part_of_a_model(symbol, graph.owner) else given
