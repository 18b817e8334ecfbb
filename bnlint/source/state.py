"""What a stop kept out of the graph besides its statistic: running statistics, logs, lists that objects keep."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.ops import GRAD_OFF
from bnlint.source.lines import at
from bnlint.source.numbers import numbers
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import Tree, last_name, of
from bnlint.source.unstop import ATOMS

_APPENDING = frozenset({"append", "appendleft"})


@dataclass(frozen=True, slots=True)
class _Kept:
    """A value that an object keeps in an attribute; `place` is the whole of an augmented assignment."""

    attribute: str
    value: cst.BaseExpression
    place: cst.CSTNode


@functools.lru_cache(1)
def _kept(module: cst.Module) -> tuple[_Kept, ...]:
    """List what is kept in attributes of objects."""
    found: list[_Kept] = []
    for node in of(module, cst.Assign, cst.AugAssign, cst.Call):
        match node:
            case cst.Assign(targets=targets, value=value):
                parts = (pair for target in targets for pair in _parts(target.target, value))
                found += [_Kept(name, each, node) for name, part in parts for each in _entries(part)]
            case cst.AugAssign(target=target, value=value) if name := _attribute(target):
                found.append(_Kept(name, value, node))
            case cst.Call(func=cst.Attribute(value=owner, attr=cst.Name(value=method)), args=[argument]):
                if method in _APPENDING and (name := _attribute(owner)):
                    found += [_Kept(name, each, node) for each in _entries(argument.value)]
    return tuple(found)


class State:
    """The values that would carry a graph once some stops are gone.

    Args:
        text: The file.
        parsed: Its syntax tree.
        graph: The flow graph.
        removed: The stops to be removed.
        use: The node that applies the statistic to its own input.
    """

    def __init__(self, text: SourceText, parsed: Parsed, graph: FlowGraph, removed: list[int], use: int) -> None:
        self.text, self.parsed, self.graph, self.removed = text, parsed, graph, removed
        self.tree = Tree(parsed.module)
        self.regions = {graph[i].origin.region for i in removed if graph[i].name in GRAD_OFF.values()} - {None}
        plain = numbers(parsed, graph)
        places = [graph[index].origin.location for index in removed if index not in plain]
        self.ends = {_end(place) for place in places if place is not None}
        self.live = self._fed() - plain
        self.before = _ancestors(graph, use)

    def edits(self) -> list[Edit]:
        """Return the edits that keep the values out of the graph."""
        places = [
            node.origin.location
            for node in self.graph
            if node.kind is Kind.STORE and not self.live.isdisjoint(node.args) and self._needs(node.index)
        ]
        made = [edit for place in places if place is not None for edit in detached(self.text, place)]
        for node in self.graph:
            where = node.origin.location
            if (
                node.name == "numpy"
                and where is not None
                and node.index not in self.removed
                and self._raises(node.index)
            ):
                made.append(
                    Edit(SourceLocation(where.path, where.line, where.column, where.line, where.column), ".detach()")
                )
        for kept in _kept(self.parsed.module):
            if self.parsed.locate(kept.value) not in self._stored and self._carries(kept) and not self._read(kept):
                made += detached(self.text, self.parsed.locate(kept.value))
        return made

    def _fed(self) -> set[int]:
        """Return what the removed stops, and all others of the same regions, give their values to."""
        origins = [self.graph[index].origin for index in self.removed]
        fed = {
            node.index
            for node in self.graph
            if node.kind is Kind.STOP and (node.origin in origins or node.origin.region in self.regions)
        }
        for node in self.graph:
            if node.kind in {Kind.OP, Kind.MERGE} and not fed.isdisjoint(node.args):
                fed.add(node.index)
        return fed

    @cached_property
    def _stored(self) -> set[SourceLocation | None]:
        return {node.origin.location for node in self.graph if node.kind is Kind.STORE}

    def _needs(self, store: int) -> bool:
        """Whether an update records gradients once the stops are gone."""
        node = self.graph[store]
        if node.attributes.get("recorded") or node.origin.location is None:
            return bool(node.attributes.get("recorded"))
        return bool(self.regions) and not self.protected(node.origin.location)

    def protected(self, place: SourceLocation) -> bool:
        """Whether the text around a place turns gradients off."""
        for node in of(self.parsed.module, cst.With, cst.FunctionDef):
            if not at(place, self.parsed.locate(node.body)):
                continue
            if isinstance(node, cst.With):
                switches = [item.item for item in node.items]
            else:
                switches = [decorator.decorator for decorator in node.decorators]
            if any(last_name(s.func if isinstance(s, cst.Call) else s) in GRAD_OFF for s in switches):
                return True
        return any(self._is_call(region) for region in self.regions)

    def _is_call(self, region: SourceLocation | None) -> bool:
        return region is not None and "set_grad_enabled" in self.text.at(region) and self.text.at(region).endswith(")")

    def _raises(self, index: int) -> bool:
        """Whether `.numpy()` would meet a tensor that carries a gradient."""
        node = self.graph[index]
        if node.kind is not Kind.STOP or node.origin.region is not None or node.origin.location is None:
            return False
        return not self.live.isdisjoint(node.args) and "force" not in self.text.at(node.origin.location)

    # -- attributes of objects

    def _carries(self, kept: _Kept) -> bool:
        """Whether a kept value comes from a removed stop."""
        if isinstance(kept.value, cst.Name):
            return self._is_live(kept.value)
        return self._at(kept.value) or _end(self.parsed.locate(kept.value)) in self.ends

    def _at(self, expression: cst.CSTNode) -> bool:
        where = self.parsed.locate(expression)
        return any(self.graph[i].origin.location == where and not self._still_stopped(i) for i in self.live)

    def _still_stopped(self, index: int) -> bool:
        return any(
            node.kind is Kind.STOP and index in node.args and node.origin.region not in {None, *self.regions}
            for node in self.graph
        )

    def _is_live(self, name: cst.Name) -> bool:
        """Whether a local name holds such a value: by what it is bound to, and by what reads it."""
        scope = self.tree.scope(name)
        if scope is None:
            return False
        names = self.tree.names(scope, name.value)
        for bound in names.bound:
            for outer in self.tree.around(bound):
                if isinstance(outer, cst.Assign):
                    values = [
                        v
                        for t in outer.targets
                        for n, v in _parts(t.target, outer.value, names=True)
                        if n == name.value
                    ]
                    if any(self._at(v) or _end(self.parsed.locate(v)) in self.ends for v in values):
                        return True
        return any(self._operand(read) in self.live for read in names.read)

    def _operand(self, read: cst.Name) -> int:
        """Return the node of a name that an operation reads, -1 where none is known."""
        outer = self.tree.parent(read)
        position = 0
        if isinstance(outer, cst.BinaryOperation):
            position = int(outer.right is read)
        elif isinstance(outer, cst.Attribute) and isinstance(call := self.tree.parent(outer), cst.Call):
            outer = call
        else:
            return -1
        where = self.parsed.locate(outer)
        found = (n.args[position] for n in self.graph if n.origin.location == where and len(n.args) > position)
        return next(found, -1)

    def _read(self, kept: _Kept) -> bool:
        """Whether a kept value may be on the way to the normalization: then it has to stay live."""
        if not isinstance(kept.value, cst.Name) and _end(self.parsed.locate(kept.value)) not in self.ends:
            where = {self.parsed.locate(kept.value), self.parsed.locate(kept.place)}
            if not any(self.graph[i].origin.location in where for i in self.before):
                return False
        places = [n.origin.location for n in self.graph if n.origin.location is not None]
        for node in of(self.parsed.module, cst.Attribute):
            if node.attr.value == kept.attribute and self._reads(node):
                scope = self.tree.scope(node)
                if scope is not None and any(at(place, self.parsed.locate(scope)) for place in places):
                    return True
        return False

    def _reads(self, node: cst.Attribute) -> bool:
        match outer := self.tree.parent(node):
            case cst.Attribute(attr=cst.Name(value=method)):
                return method not in _APPENDING
            case cst.Subscript() if self.tree.is_target(outer):
                return False
            case _:
                return not self.tree.is_target(node)


def detached(text: SourceText, location: SourceLocation) -> list[Edit]:
    """Return the edits that put `.detach()` behind an expression."""
    end = SourceLocation(location.path, location.end_line, location.end_column, location.end_line, location.end_column)
    if isinstance(cst.parse_expression(f"({text.at(location)})"), ATOMS):
        return [Edit(end, ".detach()")]
    start = SourceLocation(location.path, location.line, location.column, location.line, location.column)
    return [Edit(start, "("), Edit(end, ").detach()")]


def _ancestors(graph: FlowGraph, index: int) -> set[int]:
    found, todo = {index}, [index]
    while todo:
        for arg in graph[todo.pop()].args:
            if arg not in found:
                found.add(arg)
                todo.append(arg)
    return found


def _end(where: SourceLocation) -> tuple[int, int]:
    return where.end_line, where.end_column


def _attribute(node: cst.BaseExpression) -> str:
    """Return the name of an attribute of `self`, "" for anything else."""
    match node:
        case cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)):
            return name
        case cst.Subscript(value=inner):
            return _attribute(inner)
        case _:
            return ""


def _parts(
    target: cst.BaseExpression, value: cst.BaseExpression, *, names: bool = False
) -> Iterator[tuple[str, cst.BaseExpression]]:
    """Yield what is assigned to each attribute of `self`, or to each name."""
    match target, value:
        case cst.Tuple(elements=left), cst.Tuple(elements=right) if len(left) == len(right):
            for one, other in zip(left, right, strict=True):
                yield from _parts(one.value, other.value, names=names)
        case cst.Name(value=name), _ if names:
            yield name, value
        case _ if not names and (name := _attribute(target)):
            yield name, value


def _entries(value: cst.BaseExpression) -> Iterator[cst.BaseExpression]:
    match value:
        case cst.Tuple(elements=elements) | cst.List(elements=elements):
            for element in elements:
                yield from _entries(element.value)
        case cst.Dict(elements=pairs):
            for pair in pairs:
                yield from _entries(pair.value)
        case _:
            yield value
