"""What a probe tells of a layer, as values: how wrong its gradient is, and which statistic is stopped."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlint.errors import InputError
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.traits import Gradient
from bnlint.model.kept import keeping_graphs
from bnlint.model.lift import Lifted
from bnlint.model.lower import Lowered
from bnlint.model.probe import THRESHOLD, Probe, compare, normal
from bnlint.model.ranks import of_first, summed
from bnlint.model.shapes import Call
from bnlint.model.state import first_line

#: directions that estimate error and cosine where no reference gradient is to be had
ESTIMATE_DIRECTIONS = 48


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one layer, in float64 on a small probe of unit variance.

    Attributes:
        error: Relative error of the gradient with respect to the input, |g - g_true| / |g_true|.
        cosine: Cosine of the angle between the two.
        disagreement: Finite difference against autograd as training sees it, relative.
        deliberate: Whether the disagreement is explained by stops that stop no statistic of a normalization.
        exact: Whether `error` and `cosine` come from a reference gradient that the finite difference confirmed, not
            from an estimate over random directions.
        harm: For each statistic whose stops a graph can do without, the error that its stops alone cause.
        sites: The normalizations of the layer itself.
        lowered: Its flow graph.
        shape: Shape of the probe.
        kept: The running statistics that keep the graph of the step before.
    """

    error: float
    cosine: float
    disagreement: float
    deliberate: bool
    exact: bool
    harm: tuple[tuple[int, float], ...]
    sites: tuple[Site, ...]
    lowered: Lowered
    shape: tuple[int, ...]
    kept: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether the gradient is measured to be wrong."""
        return self.disagreement > THRESHOLD and not self.deliberate

    def stopped(self, statistic: Statistic) -> bool:
        """Whether a statistic's gradient is stopped, by structure and, where it can be told apart, by measurement."""
        harm = dict(self.harm).get(statistic.reduction)
        return statistic.gradient is Gradient.STOPPED and (harm is None or harm > THRESHOLD)


def measure(layer: nn.Module, call: Call | None = None) -> Measured:
    """Measure one layer in training mode. The layer itself is not touched.

    Args:
        layer: The layer, on any device.
        call: The arguments of one of its calls, which tell shapes; None to take them from its parameters.

    Raises:
        InputError: The layer cannot be copied, ran on none of the shapes that were tried, or its backward fails.
    """
    try:
        return _measure(layer, call)
    except RuntimeError as error:
        raise InputError(f"its backward raises {type(error).__name__}: {first_line(error)}") from error


def _measure(layer: nn.Module, call: Call | None) -> Measured:
    with warnings.catch_warnings(), Lifted():
        warnings.simplefilter("ignore")  # the layer is run some forty times
        probe = Probe(layer, call)
        seen = probe.gradient(probe.module)
        truth = probe.truth()  # first: once it is confirmed at one size of step, no other has to be tried
        disagreement = probe.disagreement(seen)
        deliberate = disagreement > THRESHOLD and probe.deliberate(seen)
        harm: list[tuple[int, float]] = []
        if truth is not None:
            error, cosine = compare(seen, truth)
            for statistic in probe.stopped if disagreement > THRESHOLD else ():
                alone = probe.reference([statistic])
                harm += [] if alone is None else [(statistic.reduction, compare(alone, truth)[0])]
        else:
            error, cosine = _estimate(probe, seen) if disagreement > THRESHOLD else (0.0, 1.0)
        shape = tuple(probe.x.shape)
        return Measured(
            error=error,
            cosine=cosine,
            disagreement=disagreement,
            deliberate=deliberate,
            exact=truth is not None,
            harm=tuple(harm),
            sites=probe.sites,
            lowered=probe.lowered,
            shape=shape,
            kept=keeping_graphs(probe.module, lambda x: probe.run(probe.module, x), probe.x),
        )


def _estimate(probe: Probe, seen: Tensor) -> tuple[float, float]:
    """Estimate error and cosine from slopes along random directions: E[(g·v)(h·v)] = g·h for normal v."""
    directions = [of_first(normal(probe.x, 1000 + seed)) for seed in range(ESTIMATE_DIRECTIONS)]
    true = torch.tensor([probe.slope(v, 1e-4) for v in directions], dtype=torch.float64)
    had = torch.tensor([summed(float((seen * v).sum())) for v in directions], dtype=torch.float64)
    return compare(had, true)
