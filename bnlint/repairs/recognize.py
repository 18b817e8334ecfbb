"""Read from a layer's flow graph which normalization it is: axes, eps, variance convention, weight and bias."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from bnlint.errors import RepairError
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.ops import Role, role
from bnlint.flow.reading import constant
from bnlint.flow.sites import Site, Statistic
from bnlint.model.lower import floating
from bnlint.model.measure import Measured
from bnlint.model.shapes import Call
from bnlint.repairs.families import Family, family_of, parameter_shape

_DISPERSION = frozenset({"var", "std"})
_SCALING = frozenset({"mul", "div", "add", "sub", "rsub"})
_AFFINE = {"mul": "weight", "div": "weight", "add": "bias", "sub": "bias"}


class ReshapedError(RepairError):
    """It takes its statistics of its input in another shape: which ones these are, only its outputs tell."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a normalization is made of.

    Attributes:
        family: Which of torch's normalizations it is.
        shape: Shape of an input.
        dims: Dimensions of that input over which its statistics are taken.
        eps: Added to the variance.
        weight: Name of the parameter that scales, None if there is none.
        bias: Name of the parameter that shifts, None if there is none.
        groups: In how many parts a group normalization takes the channels.
    """

    family: Family
    shape: tuple[int, ...]
    dims: tuple[int, ...]
    eps: float
    weight: str | None
    bias: str | None
    groups: int = 1

    @property
    def rank(self) -> int:
        """Number of dimensions of an input."""
        return len(self.shape)

    @property
    def channels(self) -> int:
        """Size of dimension 1."""
        return self.shape[1]

    @property
    def size(self) -> tuple[int, ...]:
        """Shape of weight and bias."""
        return parameter_shape(self.family, self.shape, self.dims)

    @property
    def fixed(self) -> tuple[int, ...]:
        """Dimensions of an input that have the same size in each."""
        return (1,) if self.family.per_channel else self.dims


def recognize(layer: nn.Module, measured: Measured, call: Call | None = None) -> Recipe:
    """Recognize one of torch's normalizations.

    Args:
        layer: The layer.
        measured: What was measured of it; its flow graph is read.
        call: The arguments of one of its calls where the model was run; they tell the size of what a layer without
            parameters normalizes.

    Raises:
        ReshapedError: Its dimensions cannot be seen.
        RepairError: It is no normalization that torch's fused operators can stand for; says why.
    """
    graph = measured.lowered.graph
    if not measured.sites:
        raise RepairError("no normalization can be seen in it")
    if len(measured.sites) > 1:
        raise RepairError(f"{len(measured.sites)} normalizations in one layer")
    site = measured.sites[0]
    _require_plain(layer, graph, site)
    spread, centers = _spread(site)
    dims = _dims(measured, graph[spread.reduction])
    weight, bias = _affine(layer, graph)
    shape = real_shape(layer, measured, dims, call)
    family = family_of(layer, shape, dims, centers=centers, real=call is not None)
    if not family.centers and bias is not None:
        raise RepairError(f"it shifts the result, and torch's {family.name} does not")
    if not family.keeps_state and graph[spread.reduction].attributes.get("correction"):
        raise RepairError(f"it normalizes by the unbiased variance, and torch's {family.name} by the biased one")
    eps = _eps(graph, spread)
    if eps <= 0.0:
        raise RepairError("it adds no eps to the variance, and torch's operator needs one")
    return Recipe(family, shape, dims, eps, weight, bias)


def _spread(site: Site) -> tuple[Statistic, bool]:
    """Return the statistic that scales, and whether it does so after the mean was subtracted."""
    names = {statistic.name for statistic in site.statistics}
    for statistic in site.statistics:
        if statistic.name in _DISPERSION and "mean" in names:
            return statistic, True
        if names == {"rms"}:
            return statistic, False
    raise RepairError("it does not normalize by a mean and a variance, or by a mean of squares")


def real_shape(layer: nn.Module, measured: Measured, dims: tuple[int, ...], call: Call | None) -> tuple[int, ...]:
    """Return the shape of the probe, the normalized dimensions of a layer without parameters as it really got them.

    For such a layer runs on every size, and the probe is small.
    """
    if call is None or next(layer.parameters(), None) is not None:
        return measured.shape
    real = next(leaf.shape for leaf in tree_flatten(call)[0] if floating(leaf))
    return tuple(real[d] if d in dims and 0 not in dims else size for d, size in enumerate(measured.shape))


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


def _dims(measured: Measured, node: Node) -> tuple[int, ...]:
    rank, dims = len(measured.shape), node.attributes.get("dims")
    if node.attributes.get("rank") != rank:
        raise ReshapedError("it reshapes its input before it takes statistics")
    return dims if isinstance(dims, tuple) else tuple(range(rank))


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
    """Whether a buffer is absent or has torch's shape, (C,)."""
    return tensor is None or tensor.shape == torch.Size([channels])
