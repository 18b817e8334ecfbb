"""What single nodes of a flow graph say: their arguments in training, their numbers, whether they square."""

from __future__ import annotations

from bnlint.flow.graph import FlowGraph, Kind, Mode, Node
from bnlint.flow.ops import Role, role


def train_args(node: Node) -> tuple[int, ...]:
    """Return the arguments of a node that reach it in training (a merge lists the mode of each branch)."""
    if node.kind is not Kind.MERGE:
        return node.args
    modes = node.attributes.get("modes")
    if not isinstance(modes, tuple):
        return node.args
    return tuple(arg for arg, mode in zip(node.args, modes, strict=True) if mode & Mode.TRAIN)


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
