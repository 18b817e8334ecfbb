"""The static check: source text in, findings out."""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import libcst as cst

from bnlint.catalog import BY_CODE, PLAIN, Fact, Rule, judge, severity
from bnlint.finding import Finding, Mark, Severity, SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.flow.purposes import COMMENTED, Purpose
from bnlint.flow.sites import Site, Statistic, attributes_given, find_sites
from bnlint.flow.traits import Trait
from bnlint.source.edits import fix_for
from bnlint.source.intent import never_trained, said_to_be_meant
from bnlint.source.lower import NOWHERE, Parsed, lower, parse, unplaced
from bnlint.source.screen import may_hold_findings, screen
from bnlint.source.text import SourceText, apply
from bnlint.source.unused import judged, names_rules

#: how often a file is checked again after fixes that made room for others
MAX_PASSES = 10


def check_source(source: bytes, path: str) -> list[Finding]:
    """Check one file.

    Args:
        source: The bytes of the file.
        path: What the findings call the file.

    Returns:
        The findings in source order, without those that a comment suppresses.
    """
    tree = _tree(source, path)
    if isinstance(tree, Finding):
        return [tree]
    found = _unjudged(source, path, tree)
    if not found and not names_rules(source):
        return []
    return sorted(judged(SourceText.decode(source).text, found, path), key=_position)


def _unjudged(source: bytes, path: str, tree: ast.Module) -> list[Finding]:
    """Return the findings of a file that Python can parse, suppressed or not."""
    if not may_hold_findings(source):
        return []
    text = SourceText.decode(source)
    screened = screen(text, tree)
    if not screened.wanted:
        return []
    try:
        parsed = parse(screened.text, path)
    except cst.ParserSyntaxError as error:
        return [_broken(path, error.message, error.raw_line, error.raw_column + 1)]
    if not any(_reported(text, find_sites(graph), graph) for _, graph in lower(unplaced(parsed), screened.wanted)):
        return []
    given_back = functools.cache(functools.partial(_given_back, parsed))
    found = {
        (finding.code, finding.location, finding.statistic): finding
        for symbol, graph in lower(parsed, screened.wanted)
        for reported in _reported(
            text, find_sites(graph, given_back(symbol.rpartition(".")[0]) if graph.kept else ()), graph
        )
        if (finding := _finding(text, parsed, graph, reported)) is not None
    }
    return list(found.values())


def fix_source(source: bytes, path: str, wanted: Callable[[Finding], bool], *, unsafe: bool = False) -> bytes:
    """Apply the fixes of the wanted findings until none is left, those that are not safe only if `unsafe`.

    The result parses, else the text before the offending fix comes back.
    """
    for _ in range(MAX_PASSES):
        found = [f for f in check_source(source, path) if wanted(f) and f.fix is not None and (f.fix.safe or unsafe)]
        if not found:
            break
        text = SourceText.decode(source)
        fixed = text.encode(apply(text, [edit for f in found if f.fix for edit in f.fix.edits]))
        if fixed == source or isinstance(_tree(fixed, path), Finding):
            break
        source = fixed
    return source


def _tree(source: bytes, path: str) -> ast.Module | Finding:
    """Parse a file, or say why that cannot be done."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(SourceText.decode(source).text)
    except SyntaxError as error:
        return _broken(path, error.msg, error.lineno or 1, max(error.offset or 1, 1))
    except (UnicodeDecodeError, ValueError) as error:
        return _broken(path, f"cannot be decoded: {error}")
    except (RecursionError, MemoryError):
        return _broken(path, "is nested too deeply to be parsed")


def _broken(path: str, message: str, line: int = 1, column: int = 1) -> Finding:
    rule = BY_CODE["BN001"]
    where = SourceLocation(path, line, column, line, column)
    return Finding(rule.code, rule.name, rule.severity, f"not valid Python: {message.splitlines()[0]}", where)


@dataclass(frozen=True, slots=True)
class _Reported:
    """A fact that a rule reports."""

    rule: Rule
    fact: Fact | Trait
    statistic: Statistic | None = None


def _given_back(parsed: Parsed, owner: str) -> frozenset[str]:
    """Name the attributes that a method of a class gives back to a tensor: what it took out with them."""
    graphs = (graph for name, graph in lower(unplaced(parsed)) if name.startswith(f"{owner}."))
    return frozenset(name for graph in graphs for name in attributes_given(graph))


def _reported(text: SourceText, sites: Sequence[Site], graph: FlowGraph) -> list[_Reported]:
    """List what rules report of a function."""
    facts: list[tuple[Fact | Trait, Statistic | None]] = [
        (_fact(text, graph, statistic), statistic)
        for site in sites
        for statistic in site.statistics
        if statistic.stops and not never_trained(graph[statistic.use].origin.symbol or "")
    ]
    return [
        _Reported(rule, fact, statistic)
        for fact, statistic in facts
        if (rule := judge(fact, "static")) is not None and not (rule.code == "BN104" and _is_number(text, rule, fact))
    ]


def _is_number(text: SourceText, rule: Rule, fact: Fact | Trait) -> bool:
    """Whether a plain number was wanted: it is given back, or of arrays (`float(a.std())` where torch is not named)."""
    return severity(rule, fact) is Severity.NOTE or "torch" not in text.text


def _fact(text: SourceText, graph: FlowGraph, statistic: Statistic) -> Fact:
    stop = graph[statistic.stops[0]]
    before = stop.index < statistic.reduction
    purpose, where = statistic.purpose, stop.origin.location
    if purpose is None and where is not None and where != NOWHERE and said_to_be_meant(text, where):
        purpose = COMMENTED
    return Fact(statistic.name, statistic.gradient, stop.name, before, purpose)


def _finding(text: SourceText, parsed: Parsed, graph: FlowGraph, reported: _Reported) -> Finding | None:
    rule, fact, statistic = reported.rule, reported.fact, reported.statistic
    node = graph[statistic.stops[0] if statistic is not None else fact.node if isinstance(fact, Trait) else 0]
    if node.origin.location is None:
        return None
    about = Finding(rule.code, rule.name, severity(rule, fact), "", node.origin.location, node.origin.symbol)
    match fact:
        case Trait(message=message, marks=marks):
            return replace(about, message=message, statistic=fact.subject, marks=_marks(graph, marks))
        case Fact() if statistic is not None:
            return replace(
                about,
                message=_message(rule, PLAIN.get(statistic.name, statistic.name), node.name, fact.purpose),
                statistic=statistic.name,
                stop=node.name,
                marks=_marks(graph, _places(graph, statistic)),
                # What is meant is not to be mended.
                fix=None if about.severity is Severity.NOTE else fix_for(text, parsed, graph, statistic),
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


def _position(finding: Finding) -> tuple[int, int, str]:
    where = finding.location
    return (where.line, where.column, finding.code) if where else (0, 0, finding.code)
