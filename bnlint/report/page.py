"""One self-contained page for a model: its layers in order, a card for each stop; no script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bnlint.finding import Finding, Severity, SourceLocation
from bnlint.overview import LayerOverview, Overview
from bnlint.report.bars import severity_of, tables
from bnlint.report.cards import Remedy, card, grouped, number
from bnlint.report.markup import Markup, element, joined
from bnlint.report.style import STYLE


def render(
    overview: Overview,
    read_source: Callable[[SourceLocation], str | None],
    remedy: Callable[[Finding], Remedy],
    version: str,
) -> str:
    """Render what was measured of models as an HTML document.

    Args:
        overview: The models, their layers and findings.
        read_source: Gives the text of the file that a location is in, or None where it cannot be read.
        remedy: Gives what mends a finding.
        version: That of bnlint.
    """
    layers = [layer for model in overview.models for layer in model.layers]
    anchors = {id(layer): f"layer-{index}" for index, layer in enumerate(layers, 1)}
    groups = grouped(overview)
    title = _headline(layers)
    cards = [card(group, read_source, remedy(group.finding), lambda layer: anchors[id(layer)]) for group in groups]
    body = element(
        "main",
        element("h1", title),
        *(element("p", model.target, class_="target") for model in overview.models),
        element("dl", *_facts(overview, version), class_="facts"),
        *_worst(layers),
        *tables(overview, groups, anchors),
        *([element("h2", "Findings"), *cards] if cards else []),
        *_explained(layers),
        element("footer", element("p", f"Made by bnlint {version}. Nothing on this page was loaded from elsewhere.")),
    )
    head = element(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        element("title", f"{title} · bnlint"),
        element("style", Markup(STYLE)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, element('body', body), lang='en')}\n"


def _headline(layers: Sequence[LayerOverview]) -> str:
    measured = [layer for layer in layers if layer.measurement is not None]
    wrong = [layer for layer in measured if severity_of(layer) is Severity.ERROR]
    natives = len(layers) - len(measured) - sum(bool(layer.problem) for layer in layers)
    if wrong:
        verb = "trains" if len(wrong) == 1 else "train"
        return f"{len(wrong)} of {_layers(len(layers))} {verb} with a wrong gradient"
    if not layers:
        return "No normalization found"
    if not measured:
        if not natives:
            return "No normalization layer could be measured"
        return (
            f"All {_layers(natives)} are torch’s own" if natives > 1 else "The one normalization layer is torch’s own"
        )
    found = sum(bool(layer.findings) for layer in layers)
    if found:
        return f"No gradient is wrong, and there is something to know about {found} of {_layers(len(layers))}"
    if any(layer.left_out for layer in layers):
        return f"What was found in {_layers(sum(layer.left_out for layer in layers))} is ignored, or known already"
    every = f"all {_layers(len(layers))}" if len(layers) > 1 else "the one normalization layer"
    return f"The gradient is right in {every}"


def _layers(count: int) -> str:
    return f"{count} normalization layer{'s' * (count != 1)}"


def _facts(overview: Overview, version: str) -> Iterator[Markup]:
    for name, value in (*overview.facts, ("bnlint", version)):
        yield element("div", element("dt", name), element("dd", value))


def _worst(layers: Sequence[LayerOverview]) -> Iterator[Markup]:
    wrong = [layer for layer in layers if severity_of(layer) is Severity.ERROR and layer.measurement is not None]
    if not wrong:
        return
    worst = max(wrong, key=lambda layer: layer.measurement.ranked if layer.measurement else -1.0)
    measured = worst.measurement
    assert measured is not None
    harm = measured.harm or measured
    where = "in the recorded training step" if measured.harm else "on a small random input"
    told = f" is worst: {where} its gradient has an error of {number(harm.error)} and a cosine of {number(harm.cosine)}"
    yield element(
        "p",
        "The outputs are right, so nothing warns, and what lies before these layers learns from a wrong gradient. ",
        element("code", worst.place.module) if worst.place.module else "The model itself",
        f"{told} (right would be 0 and 1).",
    )


def _explained(layers: Sequence[LayerOverview]) -> Iterator[Markup]:
    if not any(layer.measurement for layer in layers):
        return
    told = (
        ("Error", "the relative error |g − g*| / |g*| of the gradient at a layer’s input. Right is 0."),
        ("Cosine", "that of the angle between the gradient that training sees and the true one. Right is 1."),
        (
            "Probe",
            "the proof: a float64 copy of the layer, on a small normal input. Autograd is held against finite "
            "differences of the layer’s own outputs, which see the function as it is.",
        ),
        (
            "Training step",
            "the harm: the step that was recorded, in the model’s own precision, with a normal gradient at its "
            "outputs. Each layer is told by itself; what arrives at the first layers has passed all of them.",
        ),
    )
    yield element("h2", "How to read it")
    yield element("dl", *(joined(element("dt", name), element("dd", said)) for name, said in told), class_="reading")
