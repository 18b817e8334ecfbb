"""The static check: source text in, findings out."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterator

import libcst as cst

from bnlint.catalog import BY_CODE, PLAIN, Fact, Rule, judge
from bnlint.finding import Finding, Mark, SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.flow.sites import Statistic, find_sites
from bnlint.source.edits import fix_for
from bnlint.source.lower import Parsed, lower, parse, unplaced
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
    if not any(_reported(text, graph) for _, graph in lower(unplaced(parsed), screened.wanted)):
        return []
    found = {
        (finding.code, finding.location, finding.statistic): finding
        for _, graph in lower(parsed, screened.wanted)
        for statistic, rule in _reported(text, graph)
        for finding in _findings(text, parsed, graph, statistic, rule)
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


def _reported(text: SourceText, graph: FlowGraph) -> list[tuple[Statistic, Rule]]:
    """List the statistics of a function that a rule reports."""
    reported: list[tuple[Statistic, Rule]] = []
    for statistic in (statistic for site in find_sites(graph) for statistic in site.statistics):
        if not statistic.stops or statistic.reapplied:
            continue
        stop = graph[statistic.stops[0]]
        rule = judge(Fact(statistic.name, statistic.gradient, stop.name, stop.index < statistic.reduction), "static")
        # `float(a.std())` in a module that never names torch is about arrays.
        if rule is not None and not (rule.code == "BN104" and "torch" not in text.text):
            reported.append((statistic, rule))
    return reported


def _findings(
    text: SourceText, parsed: Parsed, graph: FlowGraph, statistic: Statistic, rule: Rule
) -> Iterator[Finding]:
    stop = graph[statistic.stops[0]]
    if stop.origin.location is None:
        return
    yield Finding(
        rule.code,
        rule.name,
        rule.severity,
        _message(rule, PLAIN.get(statistic.name, statistic.name), stop.name),
        stop.origin.location,
        symbol=stop.origin.symbol,
        statistic=statistic.name,
        stop=stop.name,
        marks=_marks(graph, statistic),
        fix=fix_for(text, parsed, graph, statistic),
    )


_HOW = {
    "detach": "is detached",
    "data": "is taken out of autograd by .data",
    "no_grad": "is computed without gradients",
    "inference_mode": "is computed in inference mode",
}


def _message(rule: Rule, statistic: str, stop: str) -> str:
    if rule.code == "BN103":
        return f"the {statistic} that normalizes this input is computed from a detached copy of it"
    how = _HOW.get(stop, "leaves autograd as a plain number")
    return f"the {statistic} that normalizes its own input {how}: no gradient flows through it"


def _marks(graph: FlowGraph, statistic: Statistic) -> tuple[Mark, ...]:
    stop, name = graph[statistic.stops[0]], PLAIN.get(statistic.name, statistic.name)
    marks = [
        ("statistic", f"the {name} is computed here", graph[statistic.reduction].origin.location),
        ("stop", "its gradient stops here", stop.origin.region or stop.origin.location),
        ("use", "and it normalizes its own input here", graph[statistic.use].origin.location),
    ]
    return tuple(Mark(role, text, location) for role, text, location in marks if location is not None)


def _position(finding: Finding) -> tuple[int, int, str]:
    where = finding.location
    return (where.line, where.column, finding.code) if where else (0, 0, finding.code)
