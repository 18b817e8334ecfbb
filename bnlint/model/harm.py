"""What stops do to the gradient of the recorded step: in its own precision, on its own input.

The proof is a probe in float64; this is the harm. When a recorded step is run again to see whether it is faithful, what
arrives at each normalization from behind is kept, so that each is blamed for its own share. Then the step is run
without its stops, with autograd only inside of the normalizations, and the two gradients of each are compared.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from bnlint.errors import InputError
from bnlint.finding import Harm
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.traits import Gradient
from bnlint.model.capture import Capture, plain_run, train
from bnlint.model.lower import Lowered, floating, lower
from bnlint.model.region import Part
from bnlint.model.replay import Replay
from bnlint.model.sites import sites_of
from bnlint.model.state import preserved
from bnlint.model.truth import removable, unstopped

_Arriving = tuple[Tensor | None, ...]
_PIECE = 1 << 20


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


class Watched(Replay):
    """Replays a recorded step, and keeps the gradient of each normalization that has a stop.

    Those are left out whose stops the step cannot do without, such as numbers that went through Python.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.lowered = lower(module)
        self.sites = sites_of(self.lowered)
        self.stopped = [site for site in self.sites if _stopped(site) and removable(self.lowered, _stopped(site))]
        self.parts = {id(site): part for site in self.stopped if (part := _part(self.lowered, site)) is not None}
        self.arriving: dict[int, _Arriving] = {}
        self.seen: dict[int, Tensor] = {}
        self._wanted = {node for part in self.parts.values() for node in (part.start, *part.ends)}
        self._edges: dict[str, GradientEdge] = {}

    def run_node(self, n: fx.Node) -> object:
        """Run a node, and remember where in autograd's graph the start or an end of a part stands."""
        value = super().run_node(n)
        if n in self._wanted and isinstance(value, Tensor) and value.requires_grad:
            self._edges[n.name] = get_gradient_edge(value)
        return value

    def watched(self) -> list[GradientEdge]:
        """Return the ends of all parts."""
        return [self._edges[end.name] for part in self._live().values() for end in part.ends]

    def arrived(self, gradients: Sequence[Tensor | None]) -> None:
        """Keep what arrives at each part, and what training makes of it."""
        each = iter(gradients)
        for key, part in self._live().items():
            self.arriving[key] = tuple(next(each) for _ in part.ends)
            gradient = _within(part, self._edges, self.arriving[key])
            if gradient is not None:
                self.seen[key] = gradient
        self._edges.clear()
        self.env.clear()  # it keeps the outputs, and they the whole graph

    def _live(self) -> dict[int, Part]:
        """Return the parts through which a gradient flows at all."""
        return {
            key: part
            for key, part in self.parts.items()
            if all(node.name in self._edges for node in (part.start, *part.ends))
        }


def harms(model: nn.Module, captured: Capture, watched: Watched) -> dict[int, Compared]:
    """Compare the gradient of the recorded step with the true one at each normalization that was watched.

    Args:
        model: The model, left as found.
        captured: Its recorded step.
        watched: The replay of that.

    Returns:
        By the `id` of the site.
    """
    if captured.unfaithful is not None or not watched.seen:
        return {}
    statistics = [statistic for site in watched.stopped for statistic in _stopped(site)]
    run = _Unstopped(unstopped(captured.graph_module, watched.lowered, statistics), watched)
    try:
        with plain_run(), preserved(model), preserved(run.module, model.parameters()):
            train(model)
            run.run(*(tensor.detach().clone() for tensor in captured.inputs))
    except RuntimeError:  # the step cannot be run without its stops
        return {}
    return run.compared


class _Unstopped(Replay):
    """Runs a step without its stops, without autograd but inside of its parts, and compares what they give."""

    def __init__(self, module: fx.GraphModule, watched: Watched) -> None:
        super().__init__(module)
        self.compared: dict[int, Compared] = {}
        self._watched = watched
        self._parts = {key: watched.parts[key] for key in watched.seen}
        self._users = Counter(part.start.name for part in self._parts.values())
        self._wanted = {node.name for part in self._parts.values() for node in (part.start, *part.ends)}
        self._edges: dict[str, GradientEdge] = {}
        order = {node.name: index for index, node in enumerate(module.graph.nodes)}
        self._last: dict[str, list[int]] = defaultdict(list)
        for key, part in self._parts.items():
            self._last[max((end.name for end in part.ends), key=order.__getitem__)].append(key)
        inside = {node.name for part in self._parts.values() for node in part.inside}
        for node in module.graph.nodes:
            if "grad" in node.meta and node.name not in inside:
                node.meta = node.meta | {"grad": False}

    def run_node(self, n: fx.Node) -> object:
        value = super().run_node(n)
        if n.name in self._users and floating(value) and not value.requires_grad:
            with torch.enable_grad():
                value = value.detach().requires_grad_().clone()  # no leaf, so that it may be changed in place
        if n.name in self._wanted and isinstance(value, Tensor) and value.requires_grad:
            self._edges[n.name] = get_gradient_edge(value)
        for key in self._last.get(n.name, ()):
            self._compare(key, self._parts[key])
        return value

    def _compare(self, key: int, part: Part) -> None:
        seen, arriving = self._watched.seen.pop(key), self._watched.arriving.pop(key)
        if all(node.name in self._edges for node in (part.start, *part.ends)):
            true = _within(part, self._edges, arriving)
            if true is not None:
                self.compared[key] = _compared(seen, true)
        for node in part.ends:
            self._edges.pop(node.name, None)
        self._users[part.start.name] -= 1
        if not self._users[part.start.name]:
            self._edges.pop(part.start.name, None)  # it holds the tensor


def _part(lowered: Lowered, site: Site) -> Part | None:
    try:
        return Part(lowered, site)
    except InputError:
        return None


def _within(part: Part, edges: dict[str, GradientEdge], arriving: _Arriving) -> Tensor | None:
    """Return the gradient at the start of a part, of what arrives at its ends and nothing else."""
    live = [(edges[end.name], each) for end, each in zip(part.ends, arriving, strict=True) if each is not None]
    if not live:
        return None
    (found,) = torch.autograd.grad(
        [end for end, _ in live],
        [edges[part.start.name]],
        [gradient for _, gradient in live],
        retain_graph=True,
        allow_unused=True,
    )
    return found


def _stopped(site: Site) -> list[Statistic]:
    return [statistic for statistic in site.statistics if statistic.gradient is Gradient.STOPPED]


def _compared(seen: Tensor, true: Tensor) -> Compared:
    """Compare two gradients in float64, piece by piece: copies of them would be the largest tensors of all."""
    total = torch.zeros(4, dtype=torch.float64)
    for pair in zip(*(torch.split(each.flatten(), _PIECE) for each in (seen, true)), strict=True):
        s, t = (each.double() for each in pair)
        total += torch.stack([torch.dot(s - t, s - t), torch.dot(s, s), torch.dot(t, t), torch.dot(s, t)]).cpu()
    return Compared(*total.tolist())
