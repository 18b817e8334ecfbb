"""A card for each stop of a model: what it does, where it stands, what was measured, and how to mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from bnlint.finding import Finding, Measurement, Severity, SourceLocation
from bnlint.overview import LayerOverview, Overview
from bnlint.report.change import Changed
from bnlint.report.drawing import drawing
from bnlint.report.excerpt import change, excerpts
from bnlint.report.markup import Markup, element


@dataclass(frozen=True, slots=True)
class Remedy:
    """How to mend what a finding tells.

    Attributes:
        message: What is done, in words.
        changed: The lines of source that it changes.
        commands: The commands that do it.
    """

    message: str = ""
    changed: Sequence[Changed] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Findings about one stop, and the layers that share it, each with the name of its model."""

    number: int
    finding: Finding
    layers: list[tuple[str, LayerOverview]] = field(default_factory=list)


def grouped(overview: Overview) -> list[Group]:
    """Put the findings of layers that share a stop together; the most severe and harmful first."""
    found: dict[object, list[tuple[Finding, str, LayerOverview]]] = {}
    for model in overview.models:
        for layer in model.layers:
            for finding in layer.findings:
                key = (finding.code, finding.statistic, finding.stop, finding.location or (model.target, layer.place))
                found.setdefault(key, []).append((finding, model.target, layer))
    of_stops = [sorted(each, key=lambda row: _rank(row[0]), reverse=True) for each in found.values()]
    of_stops.sort(key=lambda rows: _rank(rows[0][0]), reverse=True)
    return [
        Group(number, rows[0][0], [(target, layer) for _, target, layer in rows])
        for number, rows in enumerate(of_stops, 1)
    ]


def card(
    group: Group,
    read_source: Callable[[SourceLocation], str | None],
    remedy: Remedy,
    anchors: Callable[[LayerOverview], str],
) -> Markup:
    """Return the card of a stop."""
    finding = group.finding
    drawn = drawing(finding, group.number)
    legend = "Solid: values, forward. Dashed: the gradient that comes back; it is lost at the stop."
    figure = [element("figure", drawn, element("figcaption", legend))] if drawn else []
    return element(
        "article",
        element(
            "header",
            element("span", finding.severity.value, class_=f"badge {finding.severity.value}"),
            element("h3", f"{finding.code} {finding.name}: {_title(group)}", id=f"title-of-{group.number}"),
        ),
        *([] if group.layers[1:] else [element("p", *_prose(finding.message))]),
        element("div", *figure, element("div", *_numbers(group)), class_="both"),
        *excerpts(finding, read_source),
        *_mended(finding, remedy),
        *_layers(group, anchors),
        class_="card",
        id=f"finding-{group.number}",
        aria_labelledby=f"title-of-{group.number}",
    )


def _rank(finding: Finding) -> tuple[int, float]:
    return finding.severity.rank, finding.measurement.ranked if finding.measurement else -1.0


def _title(group: Group) -> str:
    finding, count = group.finding, len(group.layers)
    where = f"{count} layers" if count > 1 else "1 layer"
    if finding.statistic is None:
        return f"a gradient that is lost unseen, in {where}"
    stopped = f" ({finding.stop})" if finding.stop else ""
    return f"{finding.statistic}{stopped}, in {where}"


def _numbers(group: Group) -> Iterator[Markup]:
    measured = group.finding.measurement
    if measured is None:
        return
    rows = list(_rows(measured))
    worst = group.layers[0][1].place.module or "(root)"
    heading = "What was measured" if len(group.layers) == 1 else f"What was measured, in the worst layer, {worst}"
    yield element("h4", heading)
    yield element("dl", *(part for name, value in rows for part in _pair(name, value)), class_="numbers")


def _pair(name: str, value: str) -> tuple[Markup, Markup]:
    return element("dt", name), element("dd", value)


def _rows(measured: Measurement) -> Iterator[tuple[str, str]]:
    if measured.harm is not None:
        yield "in the training step, error", number(measured.harm.error)
        yield "in the training step, cosine", number(measured.harm.cosine)
    about = "" if measured.exact else "about "
    yield "on the probe (float64), error", about + number(measured.error)
    yield "on the probe, cosine", about + number(measured.cosine)
    if measured.disagreement is not None:
        yield "autograd against finite differences", f"{number(measured.disagreement)} (right is below 0.001)"
    if measured.shape:
        yield "shape of the probe", " × ".join(map(str, measured.shape))
    for statistic, flows in measured.flows:
        yield f"gradient through {statistic}", "flows" if flows else "stopped"


def _mended(finding: Finding, remedy: Remedy) -> Iterator[Markup]:
    if finding.severity is Severity.NOTE:
        yield element("h4", "The fix")
        yield element("p", "Nothing to mend where it is meant.")
        return
    yield element("h4", "The fix")
    if remedy.message:
        yield element("p", *_prose(f"{remedy.message[0].upper()}{remedy.message[1:]}."))
    if remedy.changed:
        yield change(remedy.changed)
    page = element("code", f"bnlint rule {finding.code}")
    if not remedy.commands:
        yield element("p", "There is no automatic one: ", page, " says what to do.")
        return
    first, *others = (element("code", command) for command in remedy.commands)
    either = [part for command in others for part in (" or ", command)]
    yield element("p", "Run ", first, *either, ". The rule is explained by ", page, ".")


def _layers(group: Group, anchors: Callable[[LayerOverview], str]) -> Iterator[Markup]:
    if len(group.layers) > 1:
        yield element("h4", "The layers, the most harmful first")
        names = (
            element("a", layer.place.module or "(root)", href=f"#{anchors(layer)}", class_="mono")
            for _, layer in group.layers
        )
        yield element("ul", *(element("li", name) for name in names), class_="names")


def _prose(words: str) -> Iterator[str]:
    """Return a sentence with what stands between backticks as code."""
    for index, part in enumerate(words.split("`")):
        yield element("code", part) if index % 2 else part


def number(value: float) -> str:
    """Write a measured number."""
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.1e}"
