"""Tell which types in a recorded graph are written in the code, and which are those of the input or of the layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from bnlint.errors import RepairError
from bnlint.model.calls import name_of

#: stands in the arguments of a node for the dtype of the input
OF_INPUT = "the dtype of the input"
#: stands in the arguments of a node for the dtype of the layer's own tensors
OF_LAYER = "the dtype of the layer"
_OTHER = "it does something else in another precision"


def follow_precision(graph: fx.Graph, double: fx.Graph, mixed: fx.Graph | None) -> None:
    """Let a graph follow the precision of its input and of its layer, where the code does.

    Args:
        graph: A layer recorded in float32; it is changed in place.
        double: The same in float64.
        mixed: The same in float32, on an input in float64; None where it does not run on that.

    Raises:
        RepairError: The recordings differ in more than types.
    """
    if len(graph.nodes) != len(double.nodes):
        raise RepairError(_OTHER)
    twins: list[dict[Any, fx.Node]] = [{}, {}]
    if mixed is None or len(mixed.nodes) != len(graph.nodes):
        mixed = double  # where the two cannot be mixed, they are one
    for node, *others in zip(graph.nodes, double.nodes, mixed.nodes, strict=True):
        if node.meta.get("opaque"):
            raise RepairError(f"its `{name_of(node)}` has a backward of its own, or is compiled")
        for known, other in zip(twins, others, strict=True):
            known[other] = node
            if node.op != other.op or (node.target != other.target and node.op != "placeholder"):
                raise RepairError(_OTHER)
        args = [fx.node.map_arg(o.args, known.__getitem__) for o, known in zip(others, twins, strict=True)]
        kwargs = [fx.node.map_arg(dict(o.kwargs), known.__getitem__) for o, known in zip(others, twins, strict=True)]
        node.args, node.kwargs = _merged(node.args, *args), _merged(dict(node.kwargs), *kwargs)


def _merged(ours: Any, double: Any, mixed: Any) -> Any:
    if isinstance(ours, (list, tuple)) and type(ours) is type(double) and len(ours) == len(double):
        return type(ours)(_merged(*values) for values in zip(ours, double, mixed, strict=True))
    if isinstance(ours, dict) and isinstance(double, dict) and ours.keys() == double.keys():
        return {key: _merged(value, double[key], mixed[key]) for key, value in ours.items()}
    if (ours, double) == (torch.float32, torch.float64):
        return OF_INPUT if mixed == torch.float64 else OF_LAYER
    if type(ours) is not type(double) or ours != double:
        raise RepairError("it computes with other numbers in another precision")
    return ours
