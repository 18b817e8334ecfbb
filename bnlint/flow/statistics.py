"""What a reduction is a statistic *of*, and which statistics an expression is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Kind, Mode, Node
from bnlint.flow.ops import UNDIFFERENTIABLE, Role, role

#: reductions of reductions that are one reduction: `x.mean(3).mean(2)`
_CHAINED = frozenset({"mean", "sum"})
#: paths followed backwards from one operand before the flow counts as lost (unknown is silence)
MAX_PATHS = 4096


@dataclass(frozen=True, slots=True)
class Reduced:
    """The tensor that a reduction reduces.

    Attributes:
        candidates: The nodes that are this tensor in some layout or type, nearest first; the last is its origin.
        stops: Stops between the tensor and the reduction (`x.detach().mean()`), in flow order.
        squared: Whether the values are squared, or made absolute, before they are reduced.
        absolute: Whether they are made absolute and not squared.
        centered: Whether a statistic is subtracted before they are.
        optional: Stops that a flag may leave out (`(x.detach() if flag else x).mean()`).
    """

    candidates: tuple[int, ...]
    stops: tuple[int, ...] = ()
    squared: bool = False
    centered: bool = False
    absolute: bool = False
    optional: tuple[int, ...] = ()


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


def train_args(node: Node) -> tuple[int, ...]:
    """Return the arguments of a node that reach it in training (a merge lists the mode of each branch)."""
    modes = node.attributes.get("modes")
    if node.kind is not Kind.MERGE or not isinstance(modes, tuple):
        return node.args
    return tuple(arg for arg, mode in zip(node.args, modes, strict=True) if mode & Mode.TRAIN)


def liveness(graph: FlowGraph, *, variables: bool = False) -> list[bool]:
    """Say for each node whether its value carries a gradient in training, measured or else inferred.

    With `variables`, a variable that stands for a buffer is what was assigned to it.
    """
    live: list[bool] = []
    for node in graph:
        if node.live is not None:
            live.append(node.live)
            continue
        match node.kind:
            case Kind.INPUT | Kind.PARAMETER:
                live.append(True)
            case Kind.OP if node.name in UNDIFFERENTIABLE:
                live.append(False)
            case Kind.OP | Kind.MERGE | Kind.OUTPUT:
                live.append(any(live[arg] for arg in train_args(node)))
            case Kind.STORE if variables and node.attributes.get("local"):
                live.append(live[node.args[0]])
            case _:
                live.append(False)
    return live


def carried(graph: FlowGraph, live: list[bool] | None = None) -> list[int]:
    """For each node, the set of nodes (a bit mask) whose values it still holds element by element.

    With `live`, only along paths that carry a gradient; without, also behind stops.
    """
    masks: list[int] = []
    for node in graph:
        mask = 1 << node.index
        elementwise = node.kind is Kind.MERGE or (
            node.kind is Kind.OP and role(node.name) in {Role.SHAPE, Role.PART, Role.POINTWISE, Role.ARITHMETIC}
        )
        if live[node.index] and elementwise if live is not None else elementwise or node.kind is Kind.STOP:
            for arg in train_args(node):
                mask |= masks[arg]
        masks.append(mask)
    return masks


def constant(node: Node) -> float | None:
    """Return the number that a CONSTANT node holds, None for anything else."""
    value = node.attributes.get("value") if node.kind is Kind.CONSTANT else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def exponent(graph: FlowGraph, node: Node) -> float | None:
    """Return the constant exponent of a `pow` or `square` node."""
    if node.name == "square":
        return 2.0
    if node.name == "pow" and len(node.args) == 2:
        return constant(graph[node.args[1]])
    return None


def squares(graph: FlowGraph, node: Node) -> bool:
    """Whether a node is the square of its first argument."""
    if node.name == "mul" and len(node.args) == 2:
        return _same(graph, *node.args)
    power = exponent(graph, node)
    return power is not None and power > 0 and power % 2 == 0


def _same(graph: FlowGraph, first: int, second: int) -> bool:
    """Whether two values are equal: one node, or the same stops and changes of layout behind one node."""
    while first != second:
        one, other = graph[first], graph[second]
        steps = one.kind is Kind.STOP or (one.kind is Kind.OP and role(one.name) is Role.SHAPE)
        if not steps or (one.kind, one.name, one.attributes) != (other.kind, other.name, other.attributes):
            return False
        first, second = one.args[0], other.args[0]
    return True


def reduced(graph: FlowGraph, reduction: int) -> Reduced:
    """Follow a reduction backwards to the tensor whose statistic it is."""
    candidates: list[int] = []
    stops: list[int] = []
    optional: tuple[int, ...] = ()
    squared = centered = absolute = False
    index = graph[reduction].args[0] if graph[reduction].args else -1
    while index >= 0:
        node = graph[index]
        candidates.append(index)
        args = train_args(node)
        if node.kind is Kind.STOP:
            stops.insert(0, index)
        elif node.kind is Kind.MERGE and len(args) == 1:
            pass
        elif node.kind is Kind.MERGE and (choice := _one_tensor(graph, args)) is not None:
            index, optional = choice
            continue
        elif node.kind is not Kind.OP:
            break
        elif squares(graph, node):
            squared = True
            candidates.clear()
        elif node.name in {"sub", "rsub"} and len(args) == 2:
            which = _centered_operand(graph, args)
            if which is None:
                break
            centered = True
            candidates.clear()
            index = which
            continue
        elif node.name == "abs":
            absolute, squared = not squared, True
            candidates.clear()
        elif role(node.name) is not Role.SHAPE and (squared or centered or node.name not in _CHAINED):
            break
        index = args[0] if args else -1
    return Reduced(tuple(candidates), tuple(stops), squared, centered, absolute, optional)


def _one_tensor(graph: FlowGraph, args: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
    """Return the tensor that all branches are, and the stops that only some of them put on it."""
    ends = [_aliases(graph, arg, {Role.SHAPE}) for arg in args]
    common = set.intersection(*ends) if ends else set()
    if not common:
        return None
    tensor = max(common)
    stops = [{index for index in end if index > tensor and graph[index].kind is Kind.STOP} for end in ends]
    return tensor, tuple(sorted(set.union(*stops)))


def _centered_operand(graph: FlowGraph, args: tuple[int, ...]) -> int | None:
    """Of the two operands of a subtraction, return the tensor when the other is built from its statistics."""
    for tensor, statistic in (args, args[::-1]):
        inner = [graph[leaf.reduction] for leaf in leaves(graph, statistic)]
        if inner and any(_reaches(graph, tensor, node.args[0]) for node in inner if node.args):
            return tensor
    return None


def _reaches(graph: FlowGraph, tensor: int, source: int) -> bool:
    """Whether two nodes are one tensor up to layout, type and stops, or the first is a part of the second."""
    return bool(_aliases(graph, tensor, {Role.SHAPE, Role.PART}) & _aliases(graph, source, {Role.SHAPE}))


def _aliases(graph: FlowGraph, index: int, through: set[Role]) -> set[int]:
    found = {index}
    node = graph[index]
    while (node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) in through)) and node.args:
        found.add(node.args[0])
        node = graph[node.args[0]]
    return found


def centered_before(graph: FlowGraph, reduction: int) -> bool:
    """Whether a mean is the mean of `x - x.mean()` over the same dimensions: always zero, and so is its derivative."""
    node = graph[reduction]
    shift = graph[node.args[0]]
    if shift.kind is not Kind.OP or shift.name != "sub" or len(shift.args) != 2:
        return False
    tensor, mean = shift.args
    while (first := graph[mean]).kind is Kind.OP and role(first.name) is Role.SHAPE:
        mean = first.args[0]
    over = node.attributes.get("over")
    same = over is not None and over == first.attributes.get("over")
    return same and node.name == first.name == "mean" and first.args == (tensor,)


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
