"""The functions that the screen lets through: their flow is followed, and what rules report is told."""

from __future__ import annotations

import ast
import functools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bnlint.finding import Finding
from bnlint.flow.graph import FlowGraph
from bnlint.flow.sites import attributes_given, find_sites
from bnlint.source import from_ast
from bnlint.source.carriers import STATISTIC, STOP
from bnlint.source.checked import Checked
from bnlint.source.lower import Lowered, lower, unplaced
from bnlint.source.outline import Outline, Unit
from bnlint.source.project import Project
from bnlint.source.screen import Screened, blanked, reaching
from bnlint.source.spelling import absolute
from bnlint.source.taint import joining
from bnlint.source.text import SourceText, parsed
from bnlint.source.toplevel import unfolded
from bnlint.source.verdicts import Reported, reported
from bnlint.source.view import View


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of a file that is looked at: its text, the functions that are followed, and what they need elsewhere."""

    text: str
    wanted: frozenset[str]
    elsewhere: Mapping[Path, frozenset[str]]


def flowed(text: SourceText, path: str, sketch: Outline, screened: Screened, project: Project | None) -> Checked:
    """Follow the flow of the functions of a file that the screen let through, and say what is reported of them.

    Args:
        text: The file.
        path: What findings call it.
        sketch: Its outline.
        screened: What the screen let through.
        project: The files around it; without, each import leads out of what is seen.

    Raises:
        SyntaxError: It is no Python; ValueError, RecursionError and MemoryError say so as well.
    """
    part, tree = _needed(text, sketch, screened)
    # What declared names do, only the flow knows.
    wanted = _wanted(tree, sketch, replace(screened, stopped=frozenset()) if sketch.vocabulary.words else screened)
    if not wanted:
        return Checked()
    project = project or Project()
    view = View(project, absolute(Path(path)), screened.elsewhere)
    facts, lost = _reported(text, path, lower(unplaced(path, from_ast.module(tree.body)), wanted, view))
    # libcst knows where everything stands, and takes its time: it is asked only about a file that holds a finding.
    return _placed(text, path, _Part(part, wanted, screened.elsewhere), project) if facts else Checked((), lost)


def _wanted(tree: ast.Module, sketch: Outline, screened: Screened) -> frozenset[str]:
    """Return the symbols of the functions in which a stopped statistic may be used, or whose rules need no stop."""
    lent: dict[str, int] = defaultdict(int)
    for each in screened.lent:
        lent[each.name] |= (STATISTIC if each.statistic else 0) | (STOP if each.stop else 0)
    wanted = list(screened.wanted)
    joins = joining(tree, sketch, lent) if screened.stopped else None
    if joins is not None:
        near = reaching([unit for unit in sketch.units if (unit.top, unit.name) in joins], list(sketch.units), sketch)
        wanted = [unit for unit in wanted if unit not in screened.stopped or unit in near]
    idle = {
        node.name for node in unfolded(tree.body) if isinstance(node, ast.FunctionDef) and not _takes_tensors(node.args)
    }
    heirs: dict[str, list[str]] = defaultdict(list)
    for name, bases in sketch.bases.items():
        for base in bases:
            heirs[base].append(name)
    return frozenset(symbol for unit in wanted for symbol in _symbols(unit, heirs)) - idle


def _symbols(unit: Unit, heirs: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the dotted names of a unit: a method belongs to each class that inherits it."""
    owners, todo = {unit.top}, [unit.top]
    while todo:
        for name in heirs.get(todo.pop(), ()):
            if name not in owners:
                owners.add(name)
                todo.append(name)
    return {unit.top, *(f"{owner}.{unit.name}" for owner in owners)}


def _takes_tensors(args: ast.arguments) -> bool:
    """Whether a call can hand over a tensor: numbers, strings and booleans as defaults say what a parameter is."""
    positional = [*args.posonlyargs, *args.args]
    without = len(positional) - len(args.defaults) + sum(1 for default in args.kw_defaults if default is None)
    defaults = [default for default in (*args.defaults, *args.kw_defaults) if default is not None]
    return without > 0 or any(
        isinstance(default, ast.Name) or (isinstance(default, ast.Constant) and default.value is None)
        for default in defaults
    )


def _needed(text: SourceText, sketch: Outline, screened: Screened) -> tuple[str, ast.Module]:
    """Return the text without the definitions that are not needed, parsed; all of it if the rest does not stand."""
    part = blanked(text.text, sketch, screened.needed)
    try:
        return part, parsed(part)
    except SyntaxError:
        return text.text, parsed(text.text)


def _placed(text: SourceText, path: str, part: _Part, project: Project) -> Checked:
    """Follow the flow once more, now knowing where everything stands, and report it."""
    from bnlint.source.parsed import parse, placed
    from bnlint.source.wording import finding_of

    parsed(text.text)  # of a file that is no Python nothing else is told
    module = parse(part.text, path)
    tree, view = module.tree, View(project, absolute(Path(path)), part.elsewhere, placed)

    @functools.cache
    def given_back(owner: str) -> frozenset[str]:
        return _given_back(lower(tree, None, view), owner)

    facts, lost = _reported(text, path, lower(tree, part.wanted, view), given_back)
    found: dict[object, Finding] = {}
    # Seen from several functions, the one that knows a reason for it tells, and last the one that can only guess.
    for graph, fact in sorted(facts, key=lambda each: each[1].doubt):
        finding = finding_of(text, module, graph, fact)
        if finding is not None:
            found.setdefault((finding.code, finding.location, finding.statistic), finding)
    return Checked(tuple(found.values()), lost)


def _reported(
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


def _given_back(functions: Iterable[Lowered], owner: str) -> frozenset[str]:
    """Name the attributes that a method of a class gives back to a tensor: what it took out with them."""
    graphs = (function.graph for function in functions if function.symbol.startswith(f"{owner}."))
    return frozenset(name for graph in graphs if graph is not None for name in attributes_given(graph))
