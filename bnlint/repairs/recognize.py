"""Read from a layer's flow graph which normalization it is: axes, eps, variance convention, weight and bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlint.errors import RepairError
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.ops import Role, role
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.statistics import constant
from bnlint.model.probe import Measured

_DISPERSION = frozenset({"var", "std"})
_SCALING = frozenset({"mul", "div", "add", "sub", "rsub"})
_AFFINE = {"mul": "weight", "div": "weight", "add": "bias", "sub": "bias"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a batch normalization is made of.

    Attributes:
        rank: Number of dimensions of its input.
        channels: Size of dimension 1.
        eps: Added to the variance.
        weight: Name of the parameter that scales, None if there is none.
        bias: Name of the parameter that shifts, None if there is none.
    """

    rank: int
    channels: int
    eps: float
    weight: str | None
    bias: str | None


def recognize(layer: nn.Module, measured: Measured) -> Recipe:
    """Recognize a batch normalization.

    Args:
        layer: The layer.
        measured: What was measured of it; its flow graph is read.

    Raises:
        RepairError: It is no batch normalization that torch's fused operator can stand for; says why.
    """
    graph = measured.lowered.graph
    if len(measured.sites) != 1:
        raise RepairError(f"{len(measured.sites)} normalizations in one layer")
    site = measured.sites[0]
    _require_plain(layer, graph, site)
    spread = next((s for s in site.statistics if s.name in _DISPERSION), None)
    if spread is None or not any(s.name == "mean" for s in site.statistics):
        raise RepairError("it does not normalize by a mean and a variance")
    rank, axes = _axes(measured, graph[spread.reduction])
    expected = tuple(d for d in range(rank) if d != 1)
    if axes != expected:
        raise RepairError(f"its statistics are taken over dimensions {list(axes)}, batch norm's over {list(expected)}")
    eps = _eps(graph, spread)
    if eps <= 0.0:
        raise RepairError("it adds no eps to the variance, and torch's operator needs one")
    weight, bias = _affine(layer, graph)
    return Recipe(
        rank=rank,
        channels=measured.shape[1],
        eps=eps,
        weight=weight,
        bias=bias,
    )


def _require_plain(layer: nn.Module, graph: FlowGraph, site: Site) -> None:
    if next(layer.children(), None) is not None:
        raise RepairError("it holds other modules")
    outputs = [node for node in graph if node.kind is Kind.OUTPUT]
    if len(outputs) != 1 or len(outputs[0].args) != 1:
        raise RepairError("it returns more than the normalized tensor")
    if graph[site.input].kind is not Kind.INPUT:
        raise RepairError("it changes its input before it normalizes it")
    after = {max(statistic.use for statistic in site.statistics)}
    for node in graph:
        if node.kind is Kind.OP and not after.isdisjoint(node.args):
            after.add(node.index)
            if node.name not in _SCALING and role(node.name) is not Role.SHAPE:
                raise RepairError(f"it does more than scale and shift the normalized tensor: `{node.name}`")


def _axes(measured: Measured, node: Node) -> tuple[int, tuple[int, ...]]:
    rank, dims = len(measured.shape), node.attributes.get("dims")
    if node.attributes.get("rank") != rank:
        raise RepairError("it reshapes its input before it takes statistics")
    return rank, dims if isinstance(dims, tuple) else tuple(range(rank))


def _eps(graph: FlowGraph, spread: Statistic) -> float:
    """Return what is added between the variance and the place where it is applied, 0 if nothing is."""
    forward = {spread.reduction}
    for node in graph:
        if node.index > spread.use:
            break
        if forward.isdisjoint(node.args):
            continue
        forward.add(node.index)
        numbers = [value for arg in node.args if (value := constant(graph[arg])) is not None]
        if node.name == "add" and numbers:
            return numbers[0]
    return 0.0


def _affine(layer: nn.Module, graph: FlowGraph) -> tuple[str | None, str | None]:
    """Tell which parameter scales and which shifts by the first arithmetic each takes part in."""
    found: dict[str, str] = {}
    for node in graph:
        if node.kind is Kind.PARAMETER and node.name not in found.values():
            plays = _AFFINE.get(_first_arithmetic(graph, node.index) or "")
            if plays is None or plays in found:
                raise RepairError(f"its parameter `{node.name}` neither scales nor shifts the result")
            found[plays] = node.name
    unused = [name for name, _ in layer.named_parameters() if name not in found.values()]
    if unused:
        raise RepairError(f"its parameter `{unused[0]}` takes no part in the normalization")
    return found.get("weight"), found.get("bias")


def _first_arithmetic(graph: FlowGraph, index: int) -> str | None:
    followed = {index}
    for node in graph:
        if followed.isdisjoint(node.args) or node.kind is not Kind.OP:
            continue
        if role(node.name) is not Role.SHAPE:
            return node.name
        followed.add(node.index)
    return None


def same_shape(tensor: Tensor | None, channels: int) -> bool:
    """Whether a parameter or buffer is absent or has torch's shape, (C,)."""
    return tensor is None or tensor.shape == torch.Size([channels])
