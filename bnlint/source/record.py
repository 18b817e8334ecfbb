"""What interpretation writes down: nodes of the flow graph, and the contents of containers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Mode, Node, Origin
from bnlint.flow.ops import PARTS, Role, canonical, role
from bnlint.source import syntax
from bnlint.source.inherited import Asking
from bnlint.source.values import (
    Condition,
    Function,
    GradOff,
    Instance,
    Items,
    Literal,
    Name,
    Opaque,
    Scope,
    State,
    Tensor,
    Value,
)
from bnlint.vocabulary import Word

#: nodes after which the flow of one function counts as lost
MAX_NODES = 20_000
#: containers up to this size are looped over entry by entry
MAX_UNROLLED = 8


@dataclass(frozen=True, slots=True)
class Joined:
    """The tensors that were put together to one, along a new dimension when `stacked`."""

    parts: tuple[int, ...]
    stacked: bool


class FlowLost(Exception):
    """The flow of a function cannot be followed; unknown is silence."""


class Recorder(Asking):
    """Fills the graph of one entry point.

    Args:
        graph: The graph.
        scope: The scope that the entry point is in.
        symbol: The dotted name of the entry point.
        programs: In which functions the flow of earlier entry points was lost, and how many calls they need at least.
    """

    def __init__(
        self, graph: FlowGraph, scope: Scope, symbol: str, programs: dict[syntax.Node, int] | None = None
    ) -> None:
        super().__init__()
        self.programs = {} if programs is None else programs
        self.graph = graph
        self.symbol = symbol
        self.enter(scope)
        self.parts: dict[tuple[int, object], int] = {}
        self.contents: dict[str, int] = {}
        self.copies: dict[int, tuple[Items | Instance, Items | Instance]] = {}
        self.joins: dict[int, Joined] = {}

    def enter(self, scope: Scope) -> None:
        """Go on in the code of another file, or come back from it."""
        self.scope, self.globals, self.locate = scope, scope.names, scope.locate

    # -- nodes

    def add(
        self,
        state: State,
        name: str,
        args: list[int],
        location: SourceLocation,
        attributes: Mapping[str, object] | None = None,
    ) -> Tensor:
        """Append an operation; where no gradient is recorded, a stop behind it."""
        if len(self.graph) > MAX_NODES:
            raise FlowLost
        origin = Origin(location, symbol=self.symbol)
        node = self.graph.add(Kind.OP, name, args, attributes=attributes, origin=origin, mode=state.mode)
        return self._behind(state, node, location)

    def part(self, state: State, whole: int, index: object, location: SourceLocation | None) -> Tensor:
        """Return a part of a tensor; the same part of the same tensor is the same node, with its stops behind it."""
        whole, stops = self.unstopped(whole)
        joined = self.joins.get(whole)
        if joined is not None and joined.stacked and isinstance(index, int) and index < len(joined.parts):
            return Tensor(self.stopped(joined.parts[index], stops))
        key = whole, index
        if key not in self.parts:
            self.parts[key] = self.graph.add(Kind.OP, "part", [whole], origin=Origin(location, symbol=self.symbol))
        return self._behind(state, self.stopped(self.parts[key], stops), location)

    def joined(self, whole: int) -> tuple[Joined | None, list[Node]]:
        """Return what a tensor was put together from, and the stops behind that."""
        whole, stops = self.unstopped(whole)
        return self.joins.get(whole), stops

    def unstopped(self, node: int) -> tuple[int, list[Node]]:
        """Return what a value is before the stops right behind it, and those stops in flow order."""
        stops: list[Node] = []
        while (stop := self.graph[node]).kind is Kind.STOP:
            stops.insert(0, stop)
            node = stop.args[0]
        return node, stops

    def stopped(self, node: int, stops: list[Node]) -> int:
        """Put stops behind another value."""
        for stop in stops:
            node = self.graph.add(
                Kind.STOP, stop.name, [node], attributes=stop.attributes, origin=stop.origin, mode=stop.mode
            )
        return node

    def _behind(self, state: State, node: int, location: SourceLocation | None) -> Tensor:
        off = state.grad_off[-1] if state.grad_off else None
        if isinstance(off, GradOff):
            origin = Origin(location, off.region, self.symbol)
            words = {"word": off.word} if off.word else None
            node = self.graph.add(Kind.STOP, off.kind, [node], attributes=words, origin=origin, mode=state.mode)
        return Tensor(node)

    def stop(
        self,
        state: State,
        kind: str,
        tensor: Tensor,
        location: SourceLocation,
        region: SourceLocation | None = None,
        *,
        word: Word | None = None,
    ) -> Tensor:
        """Append a stop; `region` is the whole expression where only a part of it stops, `word` a declared name."""
        origin, words = Origin(location, region, self.symbol), {"word": word} if word else None
        return Tensor(self.graph.add(Kind.STOP, kind, [tensor.node], attributes=words, origin=origin, mode=state.mode))

    def operand(self, state: State, value: Value) -> int | None:
        """Return the node of a value that takes part in arithmetic, None when it is no tensor or number at all."""
        match value:
            case Tensor(node):
                return node
            case Literal(bool() | int() | float() as number):
                return self.graph.add(Kind.CONSTANT, repr(number), attributes={"value": number}, mode=state.mode)
            case Opaque(text):
                return self.graph.add(Kind.CONSTANT, text, mode=state.mode)
            case Items(entries={}, each=Tensor(node)) if not value.entries:
                return node
            case _:
                return None

    def merge(self, values: list[tuple[Value, Mode]], switch: bool = False) -> Value:
        """Make one value of the values of several branches; `switch` where a flag, not the mode, chooses."""
        distinct: dict[object, tuple[Value, Mode]] = {}
        for value, mode in values:
            key: object = value if isinstance(value, (Tensor, Literal, Condition, Name, Opaque)) else id(value)
            known = distinct.get(key)
            distinct[key] = (value, mode if known is None else mode | known[1])
        if len(distinct) == 1:
            return values[0][0]
        tensors = [(v.node, mode) for v, mode in distinct.values() if isinstance(v, Tensor)]
        if len(tensors) > 1:
            modes = tuple(mode for _, mode in tensors)
            args = [node for node, _ in tensors]
            return Tensor(self.graph.add(Kind.MERGE, "merge", args, attributes={"modes": modes, "switch": switch}))
        containers = [(v, mode) for v, mode in distinct.values() if isinstance(v, Items)]
        if len(containers) > 1 and not tensors:
            return self._merged_items(containers, switch)
        kinds = (Tensor, Items, Instance, Function)
        telling = [v for v, _ in distinct.values() if isinstance(v, kinds)]
        return telling[0] if telling else Opaque("?")

    def _merged_items(self, containers: list[tuple[Items, Mode]], switch: bool) -> Items:
        keys = dict.fromkeys(key for items, _ in containers for key in items.entries)
        result = Items(
            {k: self.merge([(i.entries[k], m) for i, m in containers if k in i.entries], switch) for k in keys}
        )
        each = [(i.each, m) for i, m in containers if i.each is not None]
        result.each = self.merge(each, switch) if each else None
        return result

    def state_of(self, state: State, tensor: Tensor) -> str | None:
        """Return the buffer that a tensor is, or is a view of; of parameters, those written around autograd."""
        node = self.graph[tensor.node]
        grad = not (state.grad_off and state.grad_off[-1])
        views = {Role.SHAPE, Role.PART}
        while node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) in views and node.args):
            grad = grad and node.kind is not Kind.STOP
            node = self.graph[node.args[0]]
        return (
            node.name if node.kind in {Kind.BUFFER, Kind.STORE} or (node.kind is Kind.PARAMETER and not grad) else None
        )

    def store(
        self,
        state: State,
        buffer: str,
        value: Tensor,
        location: SourceLocation | None,
        content: int | None = None,
        **how: bool,
    ) -> Tensor:
        """Record that a value is written into a buffer; what the buffer holds then carries no gradient.

        Args:
            state: Where it is written.
            buffer: The name of the buffer.
            value: What is written, or the operand of an update in place.
            location: The text of just that value.
            content: What the buffer holds then, if that is not the value.
            **how: `local` for a variable that stands for a buffer, `around` for a write behind autograd's back.
        """
        recorded = not (state.grad_off and isinstance(state.grad_off[-1], GradOff))
        node = self.graph.add(
            Kind.STORE,
            buffer,
            [value.node],
            attributes={"recorded": recorded, "content": value.node if content is None else content, **how},
            origin=Origin(location, symbol=self.symbol),
            mode=state.mode,
        )
        return Tensor(node)

    def updated(self, buffer: str, tensor: Tensor, name: str, operands: list[int], mode: Mode) -> int:
        """Append what a buffer holds after an update in place (`name` without its underscore), and return the node."""
        if name == "copy" and operands:
            self.contents[buffer] = operands[0]
        else:
            args = [self.contents.get(buffer, tensor.node), *operands]
            self.contents[buffer] = self.graph.add(Kind.OP, canonical(name), args, mode=mode)
        return self.contents[buffer]

    # -- containers

    def store_item(self, items: Items, key: Value, value: Value) -> None:
        """Put a value under a key; a key that is not known goes to all."""
        if isinstance(key, Literal):
            items.entries[key.value] = value
        else:
            items.each = value if items.each is None else self.merge([(items.each, Mode.BOTH), (value, Mode.BOTH)])

    def load_item(self, items: Items, key: Value) -> Value:
        """Get the value under a key; any of them when the key is not known."""
        if isinstance(key, Literal):
            position = key.value
            if isinstance(position, int) and position < 0:
                position += len(items.entries)
            if position in items.entries:
                return items.entries[position]
            if isinstance(items.each, Tensor) and self.graph[items.each.node].name in PARTS:
                # One part of a tensor holds other values than the next.
                items.entries[position] = Tensor(self.graph.add(Kind.OP, "part", [items.each.node]))
                return items.entries[position]
            return items.each if items.each is not None else Opaque("?")
        values = contents(items)
        return self.merge([(value, Mode.BOTH) for value in values]) if values else Opaque("?")

    def known(self, items: Items) -> bool:
        """Whether a container can be looped over entry by entry."""
        return items.each is None and 0 < len(items.entries) <= MAX_UNROLLED

    def elements(self, items: Items) -> list[Value]:
        """Return what iterating over a container of known entries yields: a list's values, a dict's keys."""
        if all(isinstance(key, int) for key in items.entries):
            return list(items.entries.values())
        return [Literal(key) for key in items.entries]

    def element(self, state: State, value: Value) -> Value:
        """Return what iterating over a value yields."""
        match value:
            case Tensor(node):
                return Tensor(node)
            case Items():
                return self.load_item(value, Opaque("?"))
            case _:
                return Opaque("?")


def contents(items: Items) -> list[Value]:
    """Return everything that a container may hold."""
    return [*items.entries.values(), *([items.each] if items.each is not None else [])]
