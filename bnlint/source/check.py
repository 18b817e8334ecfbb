"""The static check: source text in, findings out."""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import libcst as cst

from bnlint.catalog import BY_CODE, PLAIN, Fact, Rule, judge, severity
from bnlint.finding import Finding, Mark, Severity, SourceLocation
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.purposes import COMMENTED, Purpose
from bnlint.flow.sites import Site, Statistic, attributes_given, find_sites
from bnlint.flow.traits import Trait
from bnlint.source.edits import fix_for
from bnlint.source.intent import never_trained, said_to_be_meant
from bnlint.source.lower import NOWHERE, Lowered, Parsed, lower, parse, unplaced
from bnlint.source.outline import outline
from bnlint.source.project import Project, absolute
from bnlint.source.screen import may_hold_findings, screen
from bnlint.source.suppress import suppressed
from bnlint.source.text import SourceText, apply
from bnlint.source.view import View

#: how often a file is checked again after fixes that made room for others
MAX_PASSES = 10


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and the functions whose flow it lost."""

    findings: tuple[Finding, ...] = ()
    lost: tuple[str, ...] = ()


def check_source(source: bytes, path: str, project: Project | None = None) -> list[Finding]:
    """Check one file.

    Args:
        source: The bytes of the file.
        path: What the findings call the file.
        project: The files around it; without, each import leads out of what is seen.

    Returns:
        The findings in source order, without those that a comment suppresses; those in other files come last.
    """
    return list(inspect_source(source, path, project).findings)


def inspect_source(source: bytes, path: str, project: Project | None = None) -> Checked:
    """Check one file as `check_source` does, and say which functions could not be followed."""
    tree = _tree(source, path)
    if isinstance(tree, Finding):
        return Checked((tree,))
    if project is None:
        return _inspected(source, path, tree, None) if may_hold_findings(source) else Checked()
    with project.checking(absolute(Path(path))):
        return _inspected(source, path, tree, project)


def _inspected(source: bytes, path: str, tree: ast.Module, project: Project | None) -> Checked:
    text, sketch, file = SourceText.decode(source), outline(tree), absolute(Path(path))
    around = () if project is None else (project.imported(file, sketch), project.inherited(file, sketch))
    screened = screen(text, sketch, *around)
    if not screened.wanted:
        return Checked()
    try:
        parsed = parse(screened.text, path)
    except cst.ParserSyntaxError as error:
        return Checked((_broken(path, error.message, error.raw_line, error.raw_column + 1),))
    view = View(project or Project(), file, sketch, screened.elsewhere)
    # To place nodes takes longer than to parse: that is done only for a file which holds a finding.
    facts, lost = _followed(text, lower(unplaced(parsed), screened.wanted, view.unplaced))
    if not facts:
        return Checked((), lost)

    @functools.cache
    def given_back(owner: str) -> frozenset[str]:
        return _given_back(lower(unplaced(parsed), None, view.unplaced), owner)

    facts, lost = _followed(text, lower(parsed, screened.wanted, view.placed), given_back)
    findings = [_finding(text, parsed, graph, reported) for graph, reported in facts]
    found = {(f.code, f.location, f.statistic): f for f in findings if f is not None}
    return Checked(tuple(_unsuppressed(text, path, project, sorted(found.values(), key=_position))), lost)


def _followed(
    text: SourceText, functions: Iterable[Lowered], given_back: Callable[[str], frozenset[str]] | None = None
) -> tuple[list[tuple[FlowGraph, _Reported]], tuple[str, ...]]:
    """Return what rules report of functions, and the functions whose flow was lost.

    Without `given_back`, which tells what other methods of a class give back, the first that is reported will do.
    """
    facts: list[tuple[FlowGraph, _Reported]] = []
    lost: list[str] = []
    for function in functions:
        if function.graph is None:
            lost.append(function.symbol)
            continue
        given = given_back(function.symbol.rpartition(".")[0]) if given_back and function.graph.kept else ()
        sites = find_sites(function.graph, given)
        facts += [(function.graph, reported) for reported in _reported(text, sites, function.graph)]
        if facts and given_back is None:
            break
    return facts, tuple(lost)


def _unsuppressed(text: SourceText, path: str, project: Project | None, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that no comment suppresses: a comment holds in the file of the stop."""
    own = [finding for finding in findings if finding.location is None or finding.location.path == path]
    kept = suppressed(text.text, own)
    others = {f.location.path: None for f in findings if f.location is not None and f.location.path != path}
    for other in others:
        read = project.read(absolute(Path(other))) if project is not None else None
        there = [finding for finding in findings if finding.location is not None and finding.location.path == other]
        kept += suppressed(read.text.text, there) if read is not None else there
    return kept


def fix_source(source: bytes, path: str, wanted: Callable[[Finding], bool], project: Project | None = None) -> bytes:
    """Apply the safe fixes of the wanted findings until none is left.

    The result parses, else the text before the offending fix comes back.
    """
    for _ in range(MAX_PASSES):
        found = [f for f in check_source(source, path, project) if wanted(f) and f.fix is not None and f.fix.safe]
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


def _given_back(functions: Iterable[Lowered], owner: str) -> frozenset[str]:
    """Name the attributes that a method of a class gives back to a tensor: what it took out with them."""
    graphs = (function.graph for function in functions if function.symbol.startswith(f"{owner}."))
    return frozenset(name for graph in graphs if graph is not None for name in attributes_given(graph))


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
                # What is meant is not to be mended; another file is mended when it is checked itself.
                fix=fix_for(text, parsed, graph, statistic)
                if about.severity is not Severity.NOTE and _within(graph, parsed.path)
                else None,
            )
        case _:
            return None


def _within(graph: FlowGraph, path: str) -> bool:
    """Whether all that a fix may change stands in one file."""
    places = (node.origin.location for node in graph if node.kind in {Kind.STOP, Kind.STORE})
    return all(where is None or where.path == path for where in places)


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
