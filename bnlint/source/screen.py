"""Pass over what cannot hold a finding, before the slow parse: first by bytes, then by the names a function uses."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from bnlint.flow.ops import GRAD_OFF, PAIRS, POOLS, REDUCTIONS, SPELLED, STOPS
from bnlint.source.text import SourceText

_STATISTICS = REDUCTIONS | SPELLED | frozenset(PAIRS) | frozenset(POOLS)
_STOPS = frozenset(STOPS) | frozenset(GRAD_OFF)
#: functions that stop a gradient by their call alone; as methods or annotations the names mean something else
_CONVERSIONS = frozenset({"float", "int", "bool"})
#: what calling an object of a class runs; a constructor is not followed
_CALLED = ("", "__call__", "forward")


def _mentions(names: frozenset[str]) -> re.Pattern[bytes]:
    return re.compile(rb"\b(%s)\b" % b"|".join(re.escape(name.encode()) for name in sorted(names)))


_STATISTIC_BYTES, _STOP_BYTES = _mentions(_STATISTICS), _mentions(_STOPS | _CONVERSIONS)


@dataclass(frozen=True, slots=True)
class Screened:
    """What is left of a module: the functions and methods to look at, by name, and the text that they need.

    In the text every other top-level definition is blank, so lines keep their numbers.
    """

    wanted: frozenset[str]
    text: str


@dataclass(frozen=True, slots=True)
class _Unit:
    """A function, a method, or the rest of a class, and the names that it mentions."""

    top: str
    name: str
    names: frozenset[str]
    statistic: bool
    stop: bool


def may_hold_findings(source: bytes) -> bool:
    """Whether the bytes of a file mention both a statistic and a stop."""
    return bool(_STATISTIC_BYTES.search(source) and _STOP_BYTES.search(source))


def screen(text: SourceText, tree: ast.Module) -> Screened:
    """Find the functions whose flow may join a statistic and a stop.

    A function counts with everything of the same file that it can reach by name, methods by the name alone, so that
    nothing is lost.
    """
    bound = _imported(tree)
    units = [unit for node in tree.body for unit in _units(node, bound)]
    defining: dict[str, list[_Unit]] = defaultdict(list)
    for unit in units:
        defining[unit.name or unit.top].append(unit)
        if unit.name in _CALLED and unit.name:
            defining[unit.top].append(unit)
    for attribute, made in _members(tree):
        defining[attribute] += [unit for unit in defining.get(made, ()) if unit not in defining[attribute]]
    wanted: set[str] = set()
    needed: set[str] = set()
    for unit in units:
        reached = _reached(unit, defining)
        if any(each.statistic for each in reached) and any(each.stop for each in reached):
            wanted.add(unit.name or unit.top)
            needed |= {each.top for each in reached}
    return Screened(frozenset(wanted), _blanked(text, tree, needed) if wanted else "")


def _members(tree: ast.Module) -> set[tuple[str, str]]:
    """Return the attributes that are made an object of a class by its name (`self.stats = Statistics()`)."""
    found: set[tuple[str, str]] = set()
    for node in ast.walk(tree):
        match node:
            case (
                ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Call(func=ast.Name(id=made)))
                | ast.AnnAssign(target=ast.Attribute(attr=name), value=ast.Call(func=ast.Name(id=made)))
            ):
                found.add((name, made))
    return found


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what names imported one by one (`from torch import mean as average`) stand for."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if alias.name == "*":
                bound |= {name: name for name in _STATISTICS | _STOPS}
            bound[alias.asname or alias.name] = alias.name
    return bound


def _units(node: ast.stmt, bound: dict[str, str]) -> Iterator[_Unit]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield _unit(name, name, [node], bound)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() | ast.Lambda()):  # a table of functions
            yield _unit(name, name, [node], bound)
        case ast.ClassDef(name=name):
            methods = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            rest = [*node.bases, *node.decorator_list, *(item for item in node.body if item not in methods)]
            yield _unit(name, "", rest, bound)
            for method in methods:
                if method.name != "__init__":
                    # A class's bases lend it methods, so they belong to each of its own.
                    yield _unit(name, method.name, [method, *node.bases], bound)


def _unit(top: str, name: str, nodes: list[ast.AST], bound: dict[str, str]) -> _Unit:
    names: set[str] = set()
    operations: set[str] = set()
    stop = False
    for node in nodes:
        for part in ast.walk(node):
            match part:
                case ast.Name(id=used):
                    names.add(used)
                    operations.add(bound.get(used, ""))
                case ast.Attribute(attr=used, value=value):
                    names.add(used)
                    if not (isinstance(value, ast.Name) and value.id == "self"):  # `self.norm(x)` is a layer
                        operations.add(used)
                case ast.Call(func=ast.Name(id=used)) if used in _CONVERSIONS:
                    stop = True
    statistic, stop = not _STATISTICS.isdisjoint(operations), stop or not _STOPS.isdisjoint(operations)
    return _Unit(top, name, frozenset(names), statistic, stop)


def _reached(unit: _Unit, defining: dict[str, list[_Unit]]) -> set[_Unit]:
    reached, todo = {unit}, [unit]
    while todo:
        for name in todo.pop().names:
            for other in defining.get(name, ()):
                if other not in reached:
                    reached.add(other)
                    todo.append(other)
    return reached


def _blanked(text: SourceText, tree: ast.Module, needed: set[str]) -> str:
    pieces: list[str] = []
    done = 0
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and node.name not in needed:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            start, end = text.starts[first - 1], text.starts[node.end_lineno or first]
            pieces += [text.text[done:start], re.sub(r"[^\r\n]", "", text.text[start:end])]
            done = end
    return "".join([*pieces, text.text[done:]])
