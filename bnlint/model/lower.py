"""From a recorded `fx.Graph` to the flow graph that the rules judge."""

from __future__ import annotations

import linecache
import operator
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, fx, nn

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Origin, Owner
from bnlint.flow.ops import (
    COLLECTIVES,
    GATHERING,
    JOINING,
    PAIRS,
    PARTS,
    POOLS,
    SCATTERING,
    STOPS,
    Role,
    canonical,
    is_inplace,
    role,
)
from bnlint.model.calls import name_of
from bnlint.model.collectives import HOME
from bnlint.model.parts import INDEXED, Places, divided, joined, taken, takes_a_part
from bnlint.model.reductions import einsum_of, pools_all, reduction_attributes
from bnlint.model.replay import set_item, written

_VIEWS = frozenset({Role.SHAPE, Role.PART})


@dataclass(frozen=True, slots=True)
class Lowered:
    """A flow graph, and which recorded node each of its nodes came from.

    `again` are the parts of tensors that several recorded nodes take; each stands for the first of them.
    """

    graph: FlowGraph
    nodes: Mapping[int, fx.Node]
    again: frozenset[int] = frozenset()


def lower(module: fx.GraphModule, layer: nn.Module | None = None) -> Lowered:
    """Lower a recorded graph, of a layer; what autograd did at each node is taken from its meta, not inferred."""
    lowering = _Lowering(module, None if layer is None else owner_of(layer))
    for node in module.graph.nodes:
        lowering.visit(node)
    again = frozenset(index for index, takers in lowering.takers.items() if len(takers) > 1)
    return Lowered(lowering.flow, lowering.nodes, again)


def owner_of(layer: nn.Module) -> Owner:
    """Describe the class of a layer."""
    bases = frozenset(cls.__name__ for cls in type(layer).__mro__[1:])
    parameters = frozenset(name for name, _ in layer.named_parameters())
    buffers = frozenset(name for name, _ in layer.named_buffers())
    plain = frozenset(name for name, value in vars(layer).items() if isinstance(value, Tensor))
    return Owner(type(layer).__name__, "forward", bases, parameters, buffers, buffers | plain, plain)


def location_of(node: fx.Node) -> SourceLocation | None:
    """Return where in user code a node was recorded: the innermost call."""
    frames = node.meta.get("frames")
    if not frames:
        return None
    path, (line, column, end_line, end_column) = frames[0].path, frames[0].span
    return SourceLocation(path, line, _character(path, line, column), end_line, _character(path, end_line, end_column))


def _character(path: str, line: int, column: int) -> int:
    """Turn a column in bytes from 0 into one in characters from 1."""
    return len(linecache.getline(path, line).encode()[:column].decode(errors="ignore")) + 1


class _Lowering:
    def __init__(self, module: fx.GraphModule, owner: Owner | None) -> None:
        self.module = module
        self.flow = FlowGraph(owner)
        self.index: dict[fx.Node, int] = {}
        self.pairs: dict[fx.Node, tuple[int, int]] = {}
        self.divided: dict[fx.Node, int] = {}
        self.parts: dict[tuple[int, str], int] = {}
        self.takers: dict[int, set[fx.Node]] = defaultdict(set)
        self.joins: dict[int, dict[Places, int]] = {}
        self.nodes: dict[int, fx.Node] = {}

    def visit(self, node: fx.Node) -> None:
        match node.op:
            case "placeholder":
                self.bind(node, Kind.INPUT, node.name, live=node.meta.get("live"))
            case "get_attr":
                self._attribute(node)
            case "output":
                self.add(node, Kind.OUTPUT, "output", self.operands(node.args))
            case "call_function" | "call_method":
                self._call(node)
                if "rebound" in node.meta and node in self.index:
                    self._store(node, node.meta["rebound"], self.index[node], self.index[node])

    def add(
        self,
        node: fx.Node,
        kind: Kind,
        name: str,
        args: Iterable[int] = (),
        *,
        attributes: Mapping[str, object] | None = None,
        live: bool | None = None,
    ) -> int:
        frames = node.meta.get("frames") or ()
        symbol = frames[0].function if frames else None
        origin = Origin(location_of(node), symbol=symbol, module=node.meta.get("module"))
        index = self.flow.add(kind, name, args, attributes=attributes, origin=origin, live=live)
        self.nodes[index] = node
        return index

    def bind(self, node: fx.Node, kind: Kind, name: str, args: Iterable[int] = (), **more: Any) -> None:
        self.index[node] = self.add(node, kind, name, args, **more)

    def operands(self, value: Any) -> list[int]:
        """Return the nodes of every recorded value in a nest of arguments."""
        found: list[int] = []
        fx.node.map_arg(value, lambda n: found.append(self.index[n]) if n in self.index else None)
        return found

    def constant(self, node: fx.Node, value: object) -> int:
        return self.add(node, Kind.CONSTANT, repr(value), attributes={"value": value})

    def _attribute(self, node: fx.Node) -> None:
        kind = {"parameter": Kind.PARAMETER, "buffer": Kind.BUFFER}.get(node.meta.get("kind", ""), Kind.CONSTANT)
        live = None if kind is Kind.PARAMETER else False
        self.bind(node, kind, str(node.meta.get("name", node.target)), live=live)
        if node.meta.get("unknown_origin"):
            self.bind(node, Kind.STOP, "unknown", [self.index[node]])

    def _call(self, node: fx.Node) -> None:
        name = name_of(node)
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node) and node.args[0] in self.pairs:
            self.index[node] = self.pairs[node.args[0]][int(str(node.args[1]))]
            return
        if node.target is operator.getitem and isinstance(node.args[0], fx.Node) and node.args[0] in self.divided:
            call, index = node.args[0], int(str(node.args[1]))
            self.index[node] = self._part(call, self.divided[call], str(index), divided(call, index))
            return
        if node.target is getattr and len(node.args) > 1:
            name = str(node.args[1])
        if node.target is written:
            self._written(node)
        elif node.meta.get("opaque"):
            self.bind(node, Kind.OP, "opaque", self.operands((node.args, node.kwargs)), live=node.meta.get("live"))
        elif node.meta.get("alias"):
            self.bind(node, Kind.STOP, "alias", self.operands(node.args)[:1], live=False)
        elif name in COLLECTIVES and getattr(node.target, "__module__", "") == HOME:
            operands = self.operands(node.args[-1:] if name in GATHERING else (node.args, node.kwargs))
            self.bind(node, Kind.STOP, "collective", operands[:1], live=False)
        elif name in STOPS and (node.target is not getattr or name == "data"):
            self._stop(node, STOPS[name])
        else:
            self._operation(node, name)

    def _written(self, node: fx.Node) -> None:
        """A tensor whose memory another node changed: what was written, or the tensor itself where that is a buffer."""
        tensor, writer = self.operands(node.args[:1]), self.operands(node.args[1:])
        self.index[node] = tensor[0] if tensor and self._state_of(tensor[0]) else (writer or tensor)[-1]

    def _stop(self, node: fx.Node, kind: str) -> None:
        made_of = node.args[1:] if node.target == "new_tensor" else node.args
        sources = self.operands((made_of, node.kwargs))
        if not sources:
            self.bind(node, Kind.CONSTANT, kind, live=False)
            return
        if len(sources) > 1:
            sources = [self.add(node, Kind.OP, "where", sources)]
        self.bind(node, Kind.STOP, kind, sources[-1:], live=False)

    def _state_of(self, index: int, grad: bool = True) -> str | None:
        """Return the name of the buffer that a value is or is a view of; of a parameter, if written around autograd."""
        node = self.flow[index]
        while node.args and (node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) in _VIEWS)):
            if name_of(self.nodes[node.index]) == "clone":  # memory of its own
                return None
            grad = grad and node.kind is not Kind.STOP
            node = self.flow[node.args[0]]
        return node.name if node.kind is Kind.BUFFER or (node.kind is Kind.PARAMETER and not grad) else None

    def _operation(self, node: fx.Node, name: str) -> None:
        operands = self.operands((node.args, node.kwargs))
        if (is_inplace(name) or node.target is set_item) and operands:
            state = self._state_of(operands[0], grad=bool(node.meta.get("grad", True)))
            if state is not None:
                plain = name.rstrip("_")
                content = operands[-1] if plain == "copy" else self.add(node, Kind.OP, plain, operands)
                for value in operands[1:]:
                    self._store(node, state, value, content, around=self.flow[operands[0]].kind is Kind.STOP)
                self.index[node] = operands[0]
                return
        if name in PAIRS:
            first, second = (self._result(node, part, operands[:1]) for part in PAIRS[name])
            self.pairs[node] = (first, second)
            return
        if name in PARTS and operands:  # each part is a tensor of its own
            self.divided[node] = operands[0]
        if name in INDEXED and operands and takes_a_part(node):
            self.index[node] = self._part(node, operands[0], "", taken(node))
            return
        if (spelled := self._spelled(node, name, operands)) is not None:
            self.index[node] = spelled
            return
        plain = "where" if name.removesuffix("_") in JOINING or node.target is set_item else canonical(name)
        if name == "copy_":
            plain, operands = "reshape", operands[1:]
        elif plain == "where" and name == "where":
            operands = operands[1:]
        elif role(plain) is Role.ARITHMETIC and plain != "where":
            operands = self._pair(node)
        elif plain == "batch_norm" and node.kwargs.get("training", node.args[5] if len(node.args) > 5 else False):
            plain = "batch_norm_training"
        elif role(plain) in {Role.SHAPE, Role.POINTWISE, Role.REDUCTION}:
            operands = operands[:1]
        self.index[node] = self._result(node, plain, operands)

    def _part(self, node: fx.Node, whole: int, which: str, places: Places | None) -> int:
        """Take a part of a tensor: what was put there, or a node that is the same for the same part."""
        joined, stops = whole, list[int]()
        while self.flow[joined].kind is Kind.STOP:
            stops.insert(0, joined)
            joined = self.flow[joined].args[0]
        if places is not None and (index := self.joins.get(joined, {}).get(places)) is not None:
            for stop in stops:
                index = self.add(self.nodes[stop], Kind.STOP, self.flow[stop].name, [index], live=False)
            return self._result(node, "reshape", [index])
        key = whole, repr((node.target, node.args[1:], node.kwargs, which))
        if key not in self.parts:
            self.parts[key] = self._unstopped(node, "part", [whole])
        self.takers[self.parts[key]].add(node)
        return self._stop_of_mode(node, self.parts[key])

    def _spelled(self, node: fx.Node, name: str, operands: list[int]) -> int | None:
        """Append an operation that depends on more than its name; None where the name says it all."""
        if pools_all(node):
            return self._result(node, POOLS[name], operands[:1])
        if name == "einsum" and (equation := einsum_of(node)) is not None:
            value = operands[0] if len(operands) == 1 else self._unstopped(node, "mul", operands)
            return self._result(node, "sum" if equation.sums else "reshape", [value])
        if name in SCATTERING and isinstance(node.args[-1], fx.Node) and node.args[-1] in self.index:
            return self._result(node, "sum", [self.index[node.args[-1]]])
        places = joined(node) if name in JOINING else []
        if places and len(places) == len(operands):
            whole = self._unstopped(node, "where", operands)
            self.joins[whole] = dict(zip(places, operands, strict=True))
            return self._stop_of_mode(node, whole)
        return None

    def _store(self, node: fx.Node, buffer: str, value: int, content: int, *, around: bool = False) -> None:
        attributes = {"recorded": bool(node.meta.get("grad", True)), "content": content, "around": around}
        self.add(node, Kind.STORE, buffer, [value], attributes=attributes)

    def _pair(self, node: fx.Node) -> list[int]:
        values = [*node.args, *(node.kwargs[key] for key in ("other", "exponent") if key in node.kwargs)][:2]
        return [
            self.index[value] if isinstance(value, fx.Node) and value in self.index else self.constant(node, value)
            for value in values
        ]

    def _result(self, node: fx.Node, name: str, operands: list[int]) -> int:
        """Append an operation, and a stop behind it where it ran without recording a gradient."""
        return self._stop_of_mode(node, self._unstopped(node, name, operands))

    def _unstopped(self, node: fx.Node, name: str, operands: list[int]) -> int:
        attributes = reduction_attributes(node) if role(name) is Role.REDUCTION else None
        live = None if _off(node) else node.meta.get("live")
        return self.add(node, Kind.OP, name, operands, attributes=attributes, live=live)

    def _stop_of_mode(self, node: fx.Node, index: int) -> int:
        off = _off(node)
        return self.add(node, Kind.STOP, off, [index], live=False) if off else index


def _off(node: fx.Node) -> str | None:
    return "inference_mode" if node.meta.get("inference") else None if node.meta.get("grad", True) else "no_grad"


def floating(value: object) -> bool:
    """Whether a value is a tensor of real floating numbers."""
    return isinstance(value, Tensor) and value.is_floating_point()
