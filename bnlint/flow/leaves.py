"""Which statistics an expression is made of, and what it does to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.ops import Role, role
from bnlint.flow.reading import constant, exponent, train_args

#: paths followed backwards from one operand before the flow counts as lost (unknown is silence)
MAX_PATHS = 512
#: products that spread a statistic where what they multiply it by is a constant: `ones.mm(mean)`
_SPREADING = frozenset({"mm", "matmul", "einsum", "bmm"})


@dataclass(frozen=True, slots=True)
class Leaf:
    """A statistic inside an expression.

    `inverted` is whether it stands in the denominator, `negative` whether it is subtracted; `stops` are the
    stops between the reduction and the expression, in flow order.
    """

    reduction: int
    inverted: bool
    negative: bool
    stops: tuple[int, ...]


def leaves(graph: FlowGraph, index: int) -> list[Leaf]:
    """List the statistics that an expression is made of, one entry per way from the statistic to the expression.

    Only operations that keep a statistic a statistic are followed: layout, roots and powers, arithmetic, clamps,
    branches. Returns an empty list when there are too many paths to follow.
    """
    found: dict[Leaf, None] = {}
    todo: list[tuple[int, bool, bool, tuple[int, ...]]] = [(index, False, False, ())]
    seen = set(todo)
    while todo:
        current = todo.pop()
        if len(seen) > MAX_PATHS:
            return []
        node = graph[current[0]]
        if node.kind is Kind.OP and role(node.name) is Role.REDUCTION:
            found[Leaf(*current)] = None
            continue
        for step in _backwards(graph, node, *current[1:]):
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return list(found)


def _backwards(
    graph: FlowGraph, node: Node, inverted: bool, negative: bool, stops: tuple[int, ...]
) -> Iterator[tuple[int, bool, bool, tuple[int, ...]]]:
    """Yield the operands through which statistics come into a node, with what the node does to them."""
    args = train_args(node)
    if node.kind is Kind.STOP:
        yield from ((arg, inverted, negative, (node.index, *stops)) for arg in args)
        return
    if node.kind not in {Kind.OP, Kind.MERGE}:
        return
    match node.name:
        case "rsqrt" | "reciprocal":
            yield args[0], not inverted, negative, stops
        case "pow":
            power = exponent(graph, node)
            yield args[0], inverted != (power is not None and power < 0), negative, stops
        case "neg":
            yield args[0], inverted, not negative, stops
        case "mul" if len(args) == 2 and any((constant(graph[arg]) or 0) < 0 for arg in args):
            yield from ((arg, inverted, not negative, stops) for arg in args)
        case "sub" | "rsub" if len(args) == 2:
            yield args[0], inverted, negative != (node.name == "rsub"), stops
            yield args[1], inverted, negative != (node.name == "sub"), stops
        case "div" | "rdiv" if len(args) == 2:
            yield args[0], inverted != (node.name == "rdiv"), negative, stops
            yield args[1], inverted != (node.name == "div"), negative, stops
        case _ if node.kind is Kind.MERGE or role(node.name) is Role.ARITHMETIC:
            yield from ((arg, inverted, negative, stops) for arg in args)
        case "exp" if (inner := _negated_logarithm(graph, args[0])) is not None:
            yield inner[0], not inverted, negative, (*inner[1], *stops)
        case _ if len(args) == 1 and _SPREADING & {node.name, node.attributes.get("callee")}:
            yield args[0], inverted, negative, stops
        case _ if role(node.name) in {Role.SHAPE, Role.PART, Role.POINTWISE} and args:
            yield args[0], inverted, negative, stops
        case _:
            return


def _negated_logarithm(graph: FlowGraph, index: int) -> tuple[int, tuple[int, ...]] | None:
    """Return what stands in `-log(…)`, up to layout and a factor, with the stops on the way: exp of it inverts."""
    negative, stops = False, tuple[int, ...]()
    while (node := graph[index]).args:
        factors = [value for arg in node.args if (value := constant(graph[arg])) is not None]
        if node.name == "log":
            return (node.args[0], stops) if negative else None
        if node.kind is Kind.STOP:
            stops = (index, *stops)
        elif node.name == "neg":
            negative = not negative
        elif node.name in {"mul", "div"} and len(node.args) == 2 and len(factors) == 1:
            negative = negative != (factors[0] < 0)
        elif node.kind is not Kind.OP or role(node.name) is not Role.SHAPE:
            return None
        index = next(arg for arg in node.args if constant(graph[arg]) is None)
    return None
