"""What a reduction is a statistic *of*, and which statistics an expression is made of."""

from __future__ import annotations

from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.leaves import leaves
from bnlint.flow.ops import UNDIFFERENTIABLE, Role, role
from bnlint.flow.reading import squares, train_args

#: reductions of reductions that are one reduction: `x.mean(3).mean(2)`
_CHAINED = frozenset({"mean", "sum"})
#: how often a tensor may have been centered on the way back to it; what was centered more often is another tensor
MAX_CENTERINGS = 16


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
            case Kind.OP if node.attributes.get("layer"):  # it has parameters of its own
                live.append(True)
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


def reduced(graph: FlowGraph, reduction: int) -> Reduced:
    """Follow a reduction backwards to the tensor whose statistic it is."""
    candidates: list[int] = []
    stops: list[int] = []
    optional: tuple[int, ...] = ()
    squared = centered = absolute = False
    centerings = 0
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
        elif node.name in {"sub", "rsub"} and len(args) == 2 and centerings < MAX_CENTERINGS:
            centerings += 1
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
        if inner and any(_reaches(graph, tensor, _first_reduced(graph, node)) for node in inner if node.args):
            return tensor
    return None


def _first_reduced(graph: FlowGraph, reduction: Node) -> int:
    """Return what the first of several chained reductions reduces: `x` in `x.mean(3).mean(2)`."""
    index = reduction.args[0]
    while (node := graph[index]).kind is Kind.OP and node.args:
        if node.name not in _CHAINED and role(node.name) is not Role.SHAPE:
            break
        index = node.args[0]
    return index


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
