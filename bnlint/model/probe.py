"""Measure a layer: does the gradient that autograd gives agree with the function that the layer computes?

The proof is a directional finite difference in float64, which sees the true function, stops included. The
reference gradient is autograd's through the layer's recorded graph without the stops of its statistics; it counts only
where the finite difference confirms it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bnlint.errors import BnlintError, InputError
from bnlint.flow.graph import Kind
from bnlint.flow.sites import Statistic
from bnlint.flow.traits import Gradient
from bnlint.model.capture import Capture, capture
from bnlint.model.lower import Lowered, floating, lower
from bnlint.model.memory import tensors_in
from bnlint.model.ranks import of_first, rank, summed
from bnlint.model.replay import Replay
from bnlint.model.shapes import Call, candidates
from bnlint.model.sites import owner, sites_of
from bnlint.model.state import detached_copy, preserved
from bnlint.model.truth import inseparable, opened, removable, unstopped

#: a relative disagreement above this is a wrong gradient: right layers stay below 2e-5, stopped ones above 1.3e-2
THRESHOLD = 1e-3
#: small steps for kinks, large ones for rounding; the best one counts, and those that serve most layers come first
STEPS = (1e-4, 1e-3, 1e-5, 1e-2, 1e-6)
#: a finite difference that a gradient agrees with so well is exact: no other step can tell more
SURE = 1e-6
DIRECTIONS = 3


class Probe:
    """A float64 copy of a layer at one small input, and everything that is measured there.

    Build it, and use it, inside `Lifted()`.

    Args:
        layer: The layer; it is copied, not touched.
        call: The arguments of one of its calls, which tell shapes; None to take them from its parameters.
        shrink: Whether a smaller input than that of the call will do.

    Raises:
        InputError: The layer cannot be copied, ran on none of the shapes that were tried, or gave no finite numbers.
    """

    def __init__(self, layer: nn.Module, call: Call | None, *, shrink: bool = True) -> None:
        self.module = _awake(detached_copy(layer).double().train())
        self.args, self.kwargs, self.captured, self.lowered = self._captured(type(layer).__name__, call, shrink)
        self.sites = tuple(site for site in sites_of(self.lowered) if owner(self.lowered, site) == "")
        self.x: Tensor = next(leaf for leaf in tree_flatten((self.args, self.kwargs))[0] if floating(leaf)).detach()
        # Normal and not centered: summed outputs have no gradient in a right normalization, and a
        # centered cotangent hides a stopped mean.
        with preserved(self.module):
            outputs = self.run(self.module, self.x.clone().requires_grad_())
        if not all(output.isfinite().all() for output in outputs):
            raise InputError("its outputs are not finite", where=type(layer).__name__)
        self.cotangents = [self._cotangent(i, outputs) for i in range(len(outputs))]
        self._slopes: dict[float, list[float]] = {}
        self._sure: float | None = None
        self.directions = [of_first(normal(self.x, seed)) for seed in range(DIRECTIONS)]

    @staticmethod
    def _cotangent(index: int, outputs: Sequence[Tensor]) -> Tensor:
        """Return the gradient that arrives at an output; none does at statistics that are returned beside, detached."""
        output = outputs[index]
        if not output.requires_grad and any(other.requires_grad for other in outputs):
            return torch.zeros_like(output)
        return normal(output.detach(), 100 + index + 1000 * rank())

    def _captured(
        self, name: str, call: Call | None, shrink: bool
    ) -> tuple[tuple[Any, ...], dict[str, Any], Capture, Lowered]:
        reason = "its parameters do not tell the shape of its input"
        for args, kwargs in candidates(self.module, call, seed=rank(), shrink=shrink):
            try:
                captured = capture(self.module, args, kwargs)
                lowered = lower(captured.graph_module, self.module)
                if _initializes(self.module, lowered):
                    self.module(*args, **kwargs)  # the first batch sets parameters: measure the step after it
                    captured = capture(self.module, args, kwargs)
                    lowered = lower(captured.graph_module, self.module)
                return args, kwargs, captured, lowered
            except BnlintError as error:
                reason = error.what
        raise InputError(f"could not be run on its own: {reason}", where=name, hint="pass a real --input")

    def run(self, module: nn.Module, x: Tensor) -> list[Tensor]:
        """Run a module at this probe with another input tensor; return its floating outputs."""
        leaves, spec = tree_flatten((self.args, self.kwargs))
        leaves[next(i for i, leaf in enumerate(leaves) if floating(leaf))] = x
        args, kwargs = tree_unflatten(leaves, spec)
        return [t for t in tensors_in(module(*args, **kwargs)) if floating(t)]

    def gradient(self, module: nn.Module) -> Tensor:
        """Return the input gradient that autograd gives through a module at this probe."""
        return self._gradient(module, lambda x: self.run(module, x))

    def slope(self, direction: Tensor, step: float) -> float:
        """Return the central difference of the layer along a direction, each side from the state it was found in."""
        values: list[float] = []
        for sign in (1.0, -1.0):
            with preserved(self.module), torch.enable_grad():
                outputs = self.run(self.module, (self.x + sign * step * direction).requires_grad_())
                values.append(summed(float(dot([o.detach() for o in outputs], self.cotangents))))
        return (values[0] - values[1]) / (2 * step)

    def slopes(self, step: float) -> list[float]:
        """Return the slope along each direction; it is measured once."""
        if step not in self._slopes:
            self._slopes[step] = [self.slope(v, step) for v in self.directions]
        return self._slopes[step]

    def disagreement(self, gradient: Tensor) -> float:
        """Return how far a gradient is from the finite differences, relative, at the best step size."""
        analytic = [summed(float((gradient * v).sum())) for v in self.directions]
        best = math.inf
        for step in STEPS if self._sure is None else (self._sure,):
            slopes = self.slopes(step)
            best = min(best, math.dist(slopes, analytic) / (math.hypot(*slopes, *analytic) or 1.0))
            if best < SURE:
                self._sure = step
                break
        return best

    @property
    def stopped(self) -> list[Statistic]:
        """The statistics that are stopped by structure."""
        return [s for site in self.sites for s in site.statistics if s.gradient is Gradient.STOPPED]

    def reference(self, kept: Sequence[Statistic] = ()) -> Tensor | None:
        """Return the gradient of the layer without the stops of its statistics, but for those `kept`.

        None where the graph cannot do without them: one is no operation of it, or what uses the statistic has no
        gradient for it, as `F.batch_norm` with statistics that it is given.
        """
        removed = [s for s in self.stopped if not any(s is k or inseparable(self.lowered, s, k) for k in kept)]
        if self.captured.unfaithful is not None or not removable(self.lowered, removed):
            return None
        graph = unstopped(self.captured.graph_module, self.lowered, removed)
        try:
            return self._gradient(graph, lambda x: _replayed(graph, self.captured, x))
        except RuntimeError:
            return None

    def truth(self) -> Tensor | None:
        """Return the true gradient: the reference, where finite differences of the layer confirm it."""
        found = self.reference()
        return found if found is not None and self.disagreement(found) < THRESHOLD else None

    def deliberate(self, seen: Tensor) -> bool:
        """Whether a wrong gradient is explained by stops that stop no statistic on its way to its own input.

        So it is in batch renormalization (live statistics, stopped factors) and where all of the input is detached.
        """
        flows = [s.gradient is Gradient.FLOWS for site in self.sites for s in site.statistics]
        if self.captured.unfaithful is not None or not (all(flows) if flows else not seen.any()):
            return False
        graph = opened(self.captured.graph_module, self.lowered)
        if graph is None:
            return False
        return self.disagreement(self._gradient(graph, lambda x: _replayed(graph, self.captured, x))) < THRESHOLD

    def _gradient(self, module: nn.Module, run: Callable[[Tensor], list[Tensor]]) -> Tensor:
        with preserved(module), torch.enable_grad():
            leaf = self.x.clone().requires_grad_()
            value = dot(run(leaf), self.cotangents)
            if not value.requires_grad:
                return torch.zeros_like(self.x)
            (gradient,) = torch.autograd.grad(value, leaf, allow_unused=True)
            return torch.zeros_like(self.x) if gradient is None else gradient.detach()


def _initializes(module: nn.Module, lowered: Lowered) -> bool:
    """Whether a step writes into parameters, as data-dependent initialization does."""
    parameters = {name for name, _ in module.named_parameters()}
    return any(node.kind is Kind.STORE and node.name in parameters for node in lowered.graph)


def compare(gradient: Tensor, truth: Tensor) -> tuple[float, float]:
    """Return the relative error of a gradient and the cosine of the angle to the true one."""
    scale = float(truth.norm())
    if scale == 0.0:
        return (0.0, 1.0) if float(gradient.norm()) == 0.0 else (float("inf"), 0.0)
    cosine = float((gradient * truth).sum()) / (scale * float(gradient.norm()) or 1.0)
    return float((gradient - truth).norm()) / scale, max(-1.0, min(1.0, cosine))


def _awake(module: nn.Module) -> nn.Module:
    """Fill parameters that are zero with ones: a residual branch that starts closed has no gradient to measure yet."""
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.fill_(1.0)
    return module


def normal(like: Tensor, seed: int) -> Tensor:
    """Make a normal tensor of the shape and device of another one."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(like.shape, generator=generator, dtype=torch.float64).to(like.device)


def dot(outputs: Sequence[Tensor], cotangents: Sequence[Tensor]) -> Tensor:
    """Return the product of outputs and the gradients that arrive at them."""
    return torch.stack([(o * c).sum() for o, c in zip(outputs, cotangents, strict=True)]).sum()


def _replayed(graph: torch.fx.GraphModule, captured: Capture, x: Tensor) -> list[Tensor]:
    inputs = [tensor.detach().clone() for tensor in captured.inputs]
    inputs[next(i for i, tensor in enumerate(inputs) if floating(tensor))] = x
    return [t for t in tensors_in(Replay(graph).run(*inputs)) if floating(t)]
