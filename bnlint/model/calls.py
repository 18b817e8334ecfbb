"""What a recorded node calls, and with which other nodes."""

from __future__ import annotations

from torch import fx
from torch._ops import OpOverload
from torch.fx.node import Argument

#: operators that Python code spells in another way
_ATEN = {"_to_copy": "to", "lift_fresh_copy": "clone", "slice": "getitem", "select": "getitem", "lift": "clone"}


def name_of(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls, as Python code spells it."""
    if isinstance(node.target, str):
        return node.target
    if isinstance(node.target, OpOverload):  # `aten::mean.dim`
        name = node.target._schema.name.partition("::")[2]
        return _ATEN.get(name, name)
    return str(getattr(node.target, "__name__", "call"))


def nodes_in(value: Argument) -> list[fx.Node]:
    """Return every node in a nest of arguments, in order, one that is there twice twice."""
    found: list[fx.Node] = []
    fx.node.map_arg(value, found.append)
    return found
