"""What was measured of models, layer by layer: frozen values that know no torch and no report."""

from __future__ import annotations

from dataclasses import dataclass

from bnlint.finding import Finding, Measurement, ModuleLocation


@dataclass(frozen=True, slots=True)
class LayerOverview:
    """One normalization of a model.

    Attributes:
        place: Where it is.
        measurement: What was measured; None where it was not.
        problem: Why it was not, "" where torch wrote the layer: it is right by definition.
        findings: What is wrong with it.
        left_out: Whether there is more, which does not count: its rule is ignored, or the baseline knows it.
    """

    place: ModuleLocation
    measurement: Measurement | None
    problem: str = ""
    findings: tuple[Finding, ...] = ()
    left_out: bool = False


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """A model, as it was named, and its normalizations in the order of its modules."""

    target: str
    layers: tuple[LayerOverview, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """Every model of a run.

    Attributes:
        models: The models.
        facts: What else a reader has to know, as pairs of a name and a text: versions, device, inputs.
    """

    models: tuple[ModelOverview, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
