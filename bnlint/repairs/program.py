"""From a recorded graph to the plain values that an `UnstoppedNorm` runs by."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from bnlint.errors import RepairError
from bnlint.model.calls import name_of
from bnlint.model.replay import set_item, written
from bnlint.operations import NAMES, OPERATIONS
from bnlint.repairs.precision import OF_INPUT, OF_LAYER
from bnlint.repairs.sized import is_made

#: what is written down as it is
PLAIN = (type(None), bool, int, float, str)
Program = tuple[list[int], list[Any], list[Any], Any]


def program_of(graph: fx.Graph, result: Any, ranks: list[int], device: torch.device) -> Program:
    """Write down what a graph does.

    Args:
        graph: A graph of `record_sized`.
        result: What the layer returned; what is made of its input is the output of the graph, in this order.
        ranks: The number of dimensions of each input.
        device: Where the inputs were.

    Raises:
        RepairError: It does something that a repaired layer may not do.
    """
    return _Writer(device).write(graph, result, ranks)


class _Writer:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.index: dict[fx.Node, Any] = {}
        self.steps: list[Any] = []
        self.stores: dict[str, Any] = {}
        self.count = 0

    def write(self, graph: fx.Graph, result: Any, ranks: list[int]) -> Program:
        outputs: list[Any] = []
        for node in graph.nodes:
            if node.op == "placeholder":
                self.index[node] = ("value", self.count)
                self.count += 1
            elif node.op == "get_attr":
                if node.users:
                    self.index[node] = _held(node)
            elif node.op == "output":
                outputs = [self.value(argument) for argument in node.args[0]]
            else:
                self._step(node)
        return ranks, self.steps, list(self.stores.items()), _shaped(result, outputs)

    def value(self, argument: Any) -> Any:
        """Write an argument: a tuple says what it is, anything else is itself."""
        if isinstance(argument, fx.Node):
            return self.index[argument]
        if argument in (OF_INPUT, OF_LAYER):
            return ("dtype",) if argument == OF_INPUT else ("own dtype",)
        if isinstance(argument, PLAIN):
            return argument
        if isinstance(argument, torch.dtype):
            return ("dtype", str(argument).removeprefix("torch."))
        if isinstance(argument, torch.device) and argument == self.device:
            return ("device",)
        if argument is ...:
            return ("ellipsis",)
        if isinstance(argument, slice):
            return ("slice", *map(self.value, (argument.start, argument.stop, argument.step)))
        if isinstance(argument, (list, tuple)):
            return ("list" if isinstance(argument, list) else "tuple", *map(self.value, argument))
        raise RepairError(f"it hands a {type(argument).__name__} to an operation, which cannot be written down")

    def _step(self, node: fx.Node) -> None:
        given = [self.value(argument) for argument in node.args[: 1 if node.target is getattr else None]]
        named = {name: self.value(argument) for name, argument in node.kwargs.items()}
        self.steps.append((_operation(node), given, named, bool(node.meta.get("grad", True))))
        self.index[node] = ("value", self.count)
        self.count += 1
        if "rebound" in node.meta:
            self.stores[node.meta["rebound"]] = self.index[node]


def _operation(node: fx.Node) -> str:
    """Return the name of what a node does."""
    if node.target is set_item:
        return "set_item"
    if node.target is written:
        return "same"
    if node.target is getattr:
        name = f"property.{node.args[1]}"
    elif isinstance(node.target, str):
        name = f"method.{node.target}"
    else:
        name = NAMES.get(node.target, "")
    if name not in OPERATIONS:
        raise RepairError(f"it uses `{name_of(node)}`, which a repaired layer may not")
    if node.meta["autocast"][0]:
        raise RepairError("it turns autocast on by itself")
    return name


def _held(node: fx.Node) -> Any:
    if "group" in node.meta:
        return ("group",)
    if "unknown_origin" in node.meta or str(node.target).startswith("recorded_"):
        raise RepairError("it uses a tensor that is neither its own nor made of its input")
    return ("self", str(node.meta["name"]))


def _shaped(result: Any, outputs: list[Any]) -> Any:
    """Put what a layer returned around its tensors."""
    remaining = iter(outputs)

    def shaped(value: Any) -> Any:
        if is_made(value):
            return next(remaining)
        if type(value) in (list, tuple):
            return (type(value).__name__, *map(shaped, value))
        if type(value) is dict and all(isinstance(key, str) for key in value):
            return ("dict", *(part for key, item in value.items() for part in (key, shaped(item))))
        if type(value) in PLAIN:
            return value
        raise RepairError(f"it returns a {type(value).__name__}")

    return shaped(result)
