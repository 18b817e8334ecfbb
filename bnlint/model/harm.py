"""What stops do to the gradient of the recorded step: in its own precision, on its own input.

The proof is a probe in float64; this is the harm. The recorded step is run twice more, as it is and without the stops.
What arrives at each normalization from behind is taken from the first run, so that each is blamed for its own share.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from bnlint.finding import Harm
from bnlint.flow.sites import Gradient, Site, Statistic
from bnlint.model.capture import Capture, cotangents, plain_run, train
from bnlint.model.lower import Lowered
from bnlint.model.region import Part
from bnlint.model.replay import Replay
from bnlint.model.state import preserved
from bnlint.model.truth import removable, unstopped

_Gradients = dict[int, Tensor]
_Arriving = dict[int, tuple[Tensor | None, ...]]


@dataclass(frozen=True, slots=True)
class Compared:
    """A gradient and the true one, as the sums that error and cosine are made of; those of several can be added."""

    distance: float
    seen: float
    true: float
    product: float

    @property
    def harm(self) -> Harm | None:
        """Error and cosine; None where there is no gradient at all."""
        if not self.true:
            return None
        cosine = self.product / math.sqrt(self.seen * self.true) if self.seen else 0.0
        return Harm(math.sqrt(self.distance / self.true), max(-1.0, min(1.0, cosine)))


def together(compared: Iterable[Compared]) -> Compared:
    """Add up what was compared of one layer that normalizes more than once."""
    rows = [(each.distance, each.seen, each.true, each.product) for each in compared]
    return Compared(*(sum(column) for column in zip(*rows, strict=True)))


def harms(model: nn.Module, captured: Capture, lowered: Lowered, sites: Collection[Site]) -> dict[int, Compared]:
    """Compare the gradient of the recorded step with the true one at each normalization that has a stop.

    Args:
        model: The model, left as found.
        captured: Its recorded step.
        lowered: The flow graph of that.
        sites: Its normalizations.

    Returns:
        By the `id` of the site. Those are missing whose stops the step cannot do without, such as numbers that went
        through Python.
    """
    chosen = {id(site): site for site in sites if _stopped(site) and removable(lowered, _stopped(site))}
    if captured.unfaithful is not None or not chosen:
        return {}
    parts = {key: Part(lowered, site) for key, site in chosen.items()}
    without = unstopped(captured.graph_module, lowered, [s for site in chosen.values() for s in _stopped(site)])
    try:
        arriving, seen = _seen(model, captured, parts)
        true = _true(model, captured, without, {key: parts[key] for key in seen}, arriving)
    except RuntimeError:  # the step cannot be run without its stops
        return {}
    return {key: _compared(seen[key], true[key]) for key in true}


def _stopped(site: Site) -> list[Statistic]:
    return [statistic for statistic in site.statistics if statistic.gradient is Gradient.STOPPED]


class _Watched(Replay):
    """Remembers where in autograd's graph the values of some nodes stand when they are made."""

    def __init__(self, module: fx.GraphModule, parts: Iterable[Part]) -> None:
        super().__init__(module)
        self._names = {node.name for part in parts for node in (part.start, *part.ends)}
        self.edges: dict[str, GradientEdge] = {}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self._names and isinstance(value, Tensor) and value.requires_grad:
            self.edges[n.name] = get_gradient_edge(value)
        return value

    def ends(self, part: Part) -> list[GradientEdge]:
        """Return the ends of a part, none where one of them or its start carries no gradient."""
        edges = [self.edges.get(node.name) for node in (*part.ends, part.start)]
        return [] if None in edges else [edge for edge in edges[:-1] if edge is not None]

    def within(self, part: Part, arriving: Sequence[Tensor | None]) -> Tensor | None:
        """Return the gradient at the start of a part, of what arrives at its ends and nothing else."""
        ends = self.ends(part)
        live = [(end, gradient) for end, gradient in zip(ends, arriving, strict=True) if gradient is not None]
        if not live:
            return None
        (found,) = torch.autograd.grad(
            [end for end, _ in live],
            [self.edges[part.start.name]],
            [gradient for _, gradient in live],
            retain_graph=True,
            allow_unused=True,
        )
        return found


def _seen(model: nn.Module, captured: Capture, parts: dict[int, Part]) -> tuple[_Arriving, _Gradients]:
    """Run the step as it is: what arrives at each part, and what training sees at its start."""
    run = _Watched(captured.graph_module, parts.values())
    with plain_run(), preserved(model), preserved(captured.graph_module, model.parameters()):
        train(model)
        live = [output for output in run.run(*_inputs(captured)) if output.requires_grad]
        ends = {key: found for key, part in parts.items() if (found := run.ends(part))}
        edges = [edge for found in ends.values() for edge in found]
        if not live or not edges:
            return {}, {}
        all_arriving = iter(torch.autograd.grad(live, edges, cotangents(live), retain_graph=True, allow_unused=True))
        arriving: _Arriving = {key: tuple(next(all_arriving) for _ in found) for key, found in ends.items()}
        seen = {key: run.within(parts[key], arriving[key]) for key in ends}
    return arriving, {key: gradient for key, gradient in seen.items() if gradient is not None}


def _true(
    model: nn.Module,
    captured: Capture,
    without: fx.GraphModule,
    parts: dict[int, Part],
    arriving: _Arriving,
) -> _Gradients:
    """Run the step without its stops: what training should see at the start of each part."""
    run = _Watched(without, parts.values())
    with plain_run(), preserved(model), preserved(without, model.parameters()):
        train(model)
        run.run(*_inputs(captured))
        true = {key: run.within(part, arriving[key]) for key, part in parts.items() if run.ends(part)}
    return {key: gradient for key, gradient in true.items() if gradient is not None}


def _inputs(captured: Capture) -> list[Tensor]:
    return [tensor.clone() for tensor in captured.inputs]


def _compared(seen: Tensor, true: Tensor) -> Compared:
    seen, true = seen.double(), true.double()
    return Compared(*(float(each.sum()) for each in ((seen - true) ** 2, seen**2, true**2, seen * true)))
