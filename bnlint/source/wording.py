"""From what a rule reports to a finding: its words, its marks, and its fix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from bnlint.catalog import PLAIN, Fact, Rule, severity
from bnlint.finding import Finding, Mark, Severity
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.purposes import Purpose
from bnlint.flow.sites import Statistic
from bnlint.flow.traits import Trait
from bnlint.source.edits import fix_for
from bnlint.source.formula_fixes import formula_fix
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.updates import fix_of
from bnlint.source.verdicts import Reported


def finding_of(text: SourceText, parsed: Parsed, graph: FlowGraph, about: Reported) -> Finding | None:
    """Say what a rule reports, where it stands, and how to mend it; None where it stands nowhere in the text."""
    rule, fact, statistic = about.rule, about.fact, about.statistic
    node = graph[statistic.stops[0] if statistic is not None else fact.node if isinstance(fact, Trait) else 0]
    if node.origin.location is None:
        return None
    finding = Finding(rule.code, rule.name, severity(rule, fact), "", node.origin.location, node.origin.symbol)
    # Another file is mended when it is checked itself.
    mendable = within(graph, parsed.path)
    match fact:
        case Trait(message=message, marks=marks):
            fix = (fix_of(text, graph, fact) or formula_fix(text, graph, fact)) if mendable else None
            shown = _marks(graph, marks)
            if all(mark.location != node.origin.location for mark in shown):
                shown = (Mark("statistic", "here", node.origin.location), *shown)
            return replace(finding, message=message, statistic=fact.subject, marks=shown, fix=fix)
        case Fact() if statistic is not None:
            return replace(
                finding,
                message=_message(rule, PLAIN.get(statistic.name, statistic.name), node.name, fact.purpose),
                statistic=statistic.name,
                stop=node.name,
                marks=_marks(graph, _places(graph, statistic)),
                # What is meant is not to be mended.
                fix=fix_for(text, parsed, graph, statistic)
                if mendable and finding.severity is not Severity.NOTE
                else None,
            )
        case _:
            return None


_HOW = {
    "detach": "is detached",
    "data": "is taken out of autograd by .data",
    "no_grad": "is computed without gradients",
    "inference_mode": "is computed in inference mode",
}


def _message(rule: Rule, statistic: str, stop: str, purpose: Purpose | None) -> str:
    why = f" ({purpose.reason})" if purpose else ""
    if rule.code == "BN103":
        return f"the {statistic} that normalizes this input is computed from a detached copy of it{why}"
    if rule.code == "BN105":
        lost = "its gradient lacks what the losses of the others owe to this one"
        return f"the {statistic} that normalizes its own input is exchanged between processes in place: {lost}{why}"
    how = _HOW.get(stop, "leaves autograd as a plain number")
    return f"the {statistic} that normalizes its own input {how}: no gradient flows through it{why}"


def _places(graph: FlowGraph, statistic: Statistic) -> tuple[tuple[str, str, int], ...]:
    name = PLAIN.get(statistic.name, statistic.name)
    return (
        ("statistic", f"the {name} is computed here", statistic.reduction),
        ("stop", "its gradient stops here", statistic.stops[0]),
        ("use", "and it normalizes its own input here", statistic.use),
    )


def _marks(graph: FlowGraph, places: Iterable[tuple[str, str, int]]) -> tuple[Mark, ...]:
    found = [(role, text, graph[index].origin) for role, text, index in places]
    located = [(r, t, (o.region if r == "stop" else None) or o.location) for r, t, o in found]
    return tuple(Mark(role, text, location) for role, text, location in located if location is not None)


def within(graph: FlowGraph, path: str) -> bool:
    """Whether all that a fix may change stands in one file."""
    places = (node.origin.location for node in graph if node.kind in {Kind.STOP, Kind.STORE})
    return all(where is None or where.path == path for where in places)
