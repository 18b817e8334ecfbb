"""The static check: source text in, findings out."""

from __future__ import annotations

import ast
import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from bnlint.catalog import BY_CODE
from bnlint.finding import Finding, SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.flow.sites import attributes_given, find_sites
from bnlint.source import from_ast
from bnlint.source.checked import Checked
from bnlint.source.conversion import conversions, may_convert
from bnlint.source.lower import Lowered, lower, unplaced
from bnlint.source.outline import Outline, is_needed, outline
from bnlint.source.project import Project, absolute
from bnlint.source.screen import Screened, blanked, may_hold_findings, screen
from bnlint.source.suppress import suppressed
from bnlint.source.text import SourceText, apply, compatible
from bnlint.source.unused import judged, names_rules
from bnlint.source.verdicts import Reported, reported
from bnlint.source.view import View

#: how often a file is checked again after fixes that made room for others
MAX_PASSES = 10


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
    text = SourceText.decode(source)
    lossy = _lossy_conversions(text, tree, path) if may_convert(source) else []
    if project is None:
        checked = _inspected(text, path, tree, None) if may_hold_findings(source) else Checked()
    else:
        with project.checking(absolute(Path(path))):
            checked = _inspected(text, path, tree, project)
    found = sorted([*checked.findings, *lossy], key=_position)
    return Checked(tuple(_unsuppressed(text, path, project, found)), checked.lost)


def _lossy_conversions(text: SourceText, tree: ast.Module, path: str) -> list[Finding]:
    """List the conversions of layers that lose a part of their state."""
    rule = BY_CODE["BN401"]
    return [
        Finding(rule.code, rule.name, rule.severity, each.message, text.locate(each.node, path), each.function)
        for each in conversions(tree)
    ]


def _inspected(text: SourceText, path: str, tree: ast.Module, project: Project | None) -> Checked:
    """Follow the flow of the functions that the screen lets through."""
    sketch, file = outline(tree), absolute(Path(path))
    around = () if project is None else (project.imported(file, sketch), project.inherited(file, sketch))
    screened = screen(sketch, *around)
    if not screened.wanted:
        return Checked()
    seen = unplaced(path, from_ast.module(each for each in tree.body if is_needed(each, screened.needed)))
    view = View(project or Project(), file, screened.elsewhere)
    facts, lost = _followed(text, path, lower(seen, screened.wanted, view))
    # libcst knows where everything stands, and takes its time: it is asked only about a file that holds a finding.
    return _placed(text, path, sketch, screened, project) if facts else Checked((), lost)


def _placed(text: SourceText, path: str, sketch: Outline, screened: Screened, project: Project | None) -> Checked:
    """Follow the flow once more, now knowing where everything stands, and report it."""
    from bnlint.source.parsed import parse, placed
    from bnlint.source.wording import finding_of

    parsed = parse(blanked(text, sketch, screened.needed), path)
    tree, view = parsed.tree, View(project or Project(), absolute(Path(path)), screened.elsewhere, placed)

    @functools.cache
    def given_back(owner: str) -> frozenset[str]:
        return _given_back(lower(tree, None, view), owner)

    facts, lost = _followed(text, path, lower(tree, screened.wanted, view), given_back)
    found: dict[object, Finding] = {}
    # Seen from several functions, the one that knows a reason for it tells, and last the one that can only guess.
    for graph, fact in sorted(facts, key=lambda each: each[1].doubt):
        finding = finding_of(text, parsed, graph, fact)
        if finding is not None:
            found.setdefault((finding.code, finding.location, finding.statistic), finding)
    return Checked(tuple(found.values()), lost)


def _followed(
    text: SourceText,
    path: str,
    functions: Iterable[Lowered],
    given_back: Callable[[str], frozenset[str]] | None = None,
) -> tuple[list[tuple[FlowGraph, Reported]], tuple[str, ...]]:
    """Return what rules report of functions, and the functions whose flow was lost.

    Without `given_back`, which tells what other methods of a class give back, the first that is reported will do.
    """
    facts: list[tuple[FlowGraph, Reported]] = []
    lost: list[str] = []
    for function in functions:
        if function.graph is None:
            lost.append(function.symbol)
            continue
        given = given_back(function.symbol.rpartition(".")[0]) if given_back and function.graph.kept else ()
        sites = find_sites(function.graph, given)
        facts += [(function.graph, fact) for fact in reported(text, path, sites, function.graph)]
        if facts and given_back is None:
            break
    return facts, tuple(lost)


def _unsuppressed(text: SourceText, path: str, project: Project | None, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that no comment suppresses, and the comments of the file that suppress none.

    A comment holds in the file of the stop.
    """
    own = [finding for finding in findings if finding.location is None or finding.location.path == path]
    kept = sorted(judged(text.text, own, path), key=_position) if names_rules(text.text) else own
    others = {f.location.path: None for f in findings if f.location is not None and f.location.path != path}
    for other in others:
        read = project.read(absolute(Path(other))) if project is not None else None
        there = [finding for finding in findings if finding.location is not None and finding.location.path == other]
        kept += suppressed(read.text.text, there) if read is not None else there
    return kept


def fix_source(
    source: bytes,
    path: str,
    wanted: Callable[[Finding], bool],
    project: Project | None = None,
    *,
    unsafe: bool = False,
) -> bytes:
    """Apply the fixes of the wanted findings until none is left.

    The result parses, else the text before the offending fix comes back.

    Args:
        source: The bytes of the file.
        path: What the findings call the file.
        wanted: Which findings to fix.
        project: The files around it.
        unsafe: Whether to apply fixes that are not safe as well.
    """
    for _ in range(MAX_PASSES):
        found = (finding.fix for finding in check_source(source, path, project) if wanted(finding))
        fixes = [fix for fix in found if fix is not None and (fix.safe or unsafe)]
        if not fixes:
            break
        text = SourceText.decode(source)
        fixed = text.encode(apply(text, compatible(fixes)))
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


def _given_back(functions: Iterable[Lowered], owner: str) -> frozenset[str]:
    """Name the attributes that a method of a class gives back to a tensor: what it took out with them."""
    graphs = (function.graph for function in functions if function.symbol.startswith(f"{owner}."))
    return frozenset(name for graph in graphs if graph is not None for name in attributes_given(graph))


def _position(finding: Finding) -> tuple[int, int, str]:
    where = finding.location
    return (where.line, where.column, finding.code) if where else (0, 0, finding.code)
