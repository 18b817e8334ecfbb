"""Numbers that become tensors: where a plain number made of a statistic goes, and what has to stay a number there."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.ops import canonical
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import Tree, last_name, of
from bnlint.source.unstop import POINTWISE, as_method, without_function

#: how a tensor becomes the number, list or array that it was, where something else still needs one
_BACK = {"item": ".item()", "float": ".item()", "tolist": ".tolist()", "numpy": ".detach().numpy()"}
_DLPACK = frozenset({"from_dlpack", "to_dlpack"})
_REMAKING = frozenset({"as_tensor", "asarray"})
_MEETS = frozenset({"add", "sub", "rsub", "mul", "div", "pow"})
_OPERATORS = (cst.Add, cst.Subtract, cst.Multiply, cst.Divide, cst.Power)


def makes_number(stop: Node) -> bool:
    """Whether a stop turns a tensor into a number, a list or an array."""
    return stop.name in {"item", "float", "tolist"} or (stop.name == "numpy" and stop.origin.region is None)


@functools.lru_cache(1)
def remade(parsed: Parsed) -> frozenset[SourceLocation]:
    """Return the calls that make a tensor of numbers, and leave a tensor what it is."""
    calls = (call for call in of(parsed.module, cst.Call) if last_name(call.func) in _REMAKING)
    return frozenset(parsed.locate(call) for call in calls if not _is_of_numpy(call.func))


def _is_of_numpy(func: cst.BaseExpression) -> bool:
    return isinstance(func, cst.Attribute) and last_name(func.value) in {"np", "numpy"}


def leaves_torch(parsed: Parsed, graph: FlowGraph, stop: int, use: int) -> bool:
    """Whether NumPy or DLPack takes a value on its way from a stop to a use: both refuse what carries a gradient."""
    calls = of(parsed.module, cst.Call)
    taking = {parsed.locate(call) for call in calls if _is_of_numpy(call.func) or last_name(call.func) in _DLPACK}
    behind = {stop}
    for node in graph:
        if not behind.isdisjoint(node.args) and node.index <= use:
            behind.add(node.index)
    return any(graph[index].origin.location in taking for index in behind)


def numbers(parsed: Parsed, graph: FlowGraph) -> set[int]:
    """Return the nodes whose values are, or may be, plain numbers made of tensors."""
    tensors = remade(parsed)
    found: set[int] = set()
    for node in graph:
        values = [arg for arg in node.args if graph[arg].kind is not Kind.CONSTANT]
        match node.kind:
            case Kind.STOP if makes_number(node):
                found.add(node.index)
            case Kind.OP if node.origin.location in tensors:
                pass
            case Kind.OP if values and found.issuperset(values):
                found.add(node.index)
            case Kind.MERGE if not found.isdisjoint(values):
                found.add(node.index)
    return found


def untyped(parsed: Parsed, graph: FlowGraph, index: int) -> bool:
    """Whether a value is made of numbers or lists of numbers: arrays keep the type of the tensor they came from."""
    if index not in numbers(parsed, graph):
        return False
    while not makes_number(node := graph[index]):
        index = next(arg for arg in node.args if graph[arg].kind is not Kind.CONSTANT)
    return node.name != "numpy"


@dataclass(frozen=True, slots=True)
class Turned:
    """What a number that becomes a tensor asks for: edits elsewhere; `met` is where it meets other tensors."""

    edits: tuple[Edit, ...] = ()
    met: frozenset[SourceLocation] = frozenset()

    def __add__(self, other: Turned) -> Turned:
        return Turned(self.edits + other.edits, self.met | other.met)


class Numbers:
    """Follows a number through the text of its function.

    Args:
        text: The file.
        parsed: Its syntax tree.
        graph: The flow graph of the function.
        removed: The stops that are to be removed.
    """

    def __init__(self, text: SourceText, parsed: Parsed, graph: FlowGraph, removed: Iterable[int]) -> None:
        self.text, self.parsed, self.graph = text, parsed, graph
        self.tree = Tree(parsed.module)
        self.plain = numbers(parsed, graph)
        origins = [graph[index].origin for index in removed]
        self.calls = {origin.location for origin in origins if origin.region == origin.location}
        self.remade = remade(parsed)
        operations = [node for node in graph if node.kind is Kind.OP and not self.plain.isdisjoint(node.args)]
        self.meeting = {node.origin.location for node in operations if node.index not in self.plain}
        self.inside = {node.origin.location for node in operations if node.index in self.plain}

    def turned(self, expression: cst.BaseExpression, stop: Node, use: int) -> tuple[Edit, ...] | None:
        """Return the edits elsewhere that let an expression be a tensor instead of a number.

        Whatever is not arithmetic gets its number back, made where it is needed.

        Args:
            expression: The expression, without its stop a tensor.
            stop: The stop in the flow graph.
            use: The node that applies the statistic to its own input.

        Returns:
            None unless every way to `use` is seen to take a tensor.
        """
        found = self._around(expression, _BACK[stop.name], frozenset())
        if found is None or not self._ways_out(stop.index, use) <= found.met:
            return None
        return found.edits

    def _ways_out(self, stop: int, use: int) -> set[SourceLocation | None]:
        """Return where on the way from a stop to a use the number meets a tensor, or is made one."""
        region, ways = {stop}, set[int]()
        for node in self.graph:
            if not region.isdisjoint(node.args):
                (region if node.index in self.plain and not makes_number(node) else ways).add(node.index)
        before, todo = {use}, [use]
        while todo:
            for arg in self.graph[todo.pop()].args:
                if arg not in before:
                    before.add(arg)
                    todo.append(arg)
        return {self.graph[way].origin.location for way in ways & before}

    def _around(self, node: cst.BaseExpression, back: str, seen: frozenset[str]) -> Turned | None:
        match parent := self.tree.parent(node):
            case cst.BinaryOperation(operator=operator) if isinstance(operator, _OPERATORS):
                return self._operation(parent, back, seen)
            case cst.UnaryOperation(operator=cst.Minus() | cst.Plus()):
                return self._around(parent, back, seen)
            case cst.IfExp(test=test) if test is not node:
                return self._around(parent, back, seen)
            case cst.Subscript(value=value) if value is node:
                return self._around(parent, back, seen)
            case cst.AugAssign(value=value) if value is node:
                where = self.parsed.locate(parent)
                return Turned(met=frozenset({where})) if where in self.meeting else None
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name() as target)]):
                return self._name(target, back, seen)
            case cst.For(iter=iterable, target=cst.Name() as target) if iterable is node:
                return self._name(target, back, seen)
            case cst.Element():
                opposite = self._opposite(parent)
                return None if opposite is None else self._name(opposite, back, seen)
            case cst.Arg():
                return self._argument(parent, back, seen)
            case _:
                return None

    def _operation(self, node: cst.BaseExpression, back: str, seen: frozenset[str]) -> Turned | None:
        where = self.parsed.locate(node)
        if where in self.meeting:
            return Turned(met=frozenset({where}))
        return self._around(node, back, seen) if where in self.inside else None

    def _argument(self, argument: cst.Arg, back: str, seen: frozenset[str]) -> Turned | None:
        call = self.tree.parent(argument)
        if not isinstance(call, cst.Call) or argument.star:
            return None
        where, name = self.parsed.locate(call), last_name(call.func)
        if where in self.calls:
            return Turned(met=frozenset({where}))
        if where in self.meeting and where in self.remade:
            sources = [n.args[0] for n in self.graph if n.origin.location == where and n.args]
            number = any(untyped(self.parsed, self.graph, source) for source in sources)
            own = without_function(self.text, self.parsed, where, number=number)
            return None if own is None else Turned(tuple(own), frozenset({where}))
        keyword = "" if argument.keyword is None else argument.keyword.value
        if where in self.meeting and canonical(name) in _MEETS and keyword in {"", "other", "exponent"}:
            return Turned(met=frozenset({where}))
        if where in self.inside and name in POINTWISE:
            edits, outer = as_method(self.text, self.parsed, call), self._around(call, back, seen)
            return None if edits is None or outer is None else Turned(tuple(edits)) + outer
        return None

    def _opposite(self, element: cst.Element) -> cst.Name | None:
        """Return the name that an entry of `a, b = m, v` is bound to."""
        row = self.tree.parent(element)
        match self.tree.parent(row) if isinstance(row, cst.Tuple) else None:
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Tuple(elements=targets))], value=value) if (
                isinstance(row, cst.Tuple) and value is row and len(targets) == len(row.elements)
            ):
                target = targets[next(i for i, each in enumerate(row.elements) if each is element)].value
                return target if isinstance(target, cst.Name) else None
            case _:
                return None

    def _name(self, target: cst.Name, back: str, seen: frozenset[str]) -> Turned | None:
        """Follow a number to where its name is read; a place that needs the number gets it back."""
        scope = self.tree.scope(target)
        if scope is None or target.value in seen:
            return None if scope is None else Turned()
        names, total, restored = self.tree.names(scope, target.value), Turned(), False
        if any(isinstance(self.tree.parent(each), (cst.AugAssign, cst.Del, cst.NameItem)) for each in names.bound):
            return None
        for read in names.read:
            where = self.parsed.locate(read)
            found = self._around(read, back, seen | {target.value})
            if found is None:
                if self.text.at(where) != target.value:
                    return None
                end = SourceLocation(where.path, where.end_line, where.end_column, where.end_line, where.end_column)
                found, restored = Turned((Edit(end, back),)), True
            total += found
        if not total.met or (restored and len(names.bound) > 1):
            return None
        return total
