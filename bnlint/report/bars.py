"""The layers of a model in order, as HTML: a bar for the error of each one's gradient, and the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from bnlint.finding import Severity
from bnlint.overview import LayerOverview, ModelOverview, Overview
from bnlint.report.cards import Group, number
from bnlint.report.markup import Markup, element

_SCALES = [digit * 10.0**power for power in range(-2, 7) for digit in (1, 2, 5)]


def severity_of(layer: LayerOverview) -> Severity | None:
    """Return the severity of the worst that is found of a layer, None where nothing is."""
    return max((finding.severity for finding in layer.findings), key=lambda severity: severity.rank, default=None)


def tables(overview: Overview, groups: Sequence[Group], anchors: Mapping[int, str]) -> Iterator[Markup]:
    """Return a table for each model; all bars have one scale.

    Args:
        overview: The models.
        groups: The cards, which the layers link to.
        anchors: The name in the page of each layer, by its `id`.
    """
    cards: dict[int, list[Group]] = {}
    for group in groups:
        for _, layer in group.layers:
            cards.setdefault(id(layer), []).append(group)
    layers = [layer for model in overview.models for layer in model.layers]
    largest = max((error for layer in layers for error in _errors(layer) if math.isfinite(error)), default=0.0)
    scale = next((scale for scale in _SCALES if scale >= largest), largest)
    for model in overview.models:
        if not model.layers:
            continue
        several = f" of {model.target}" if overview.models[1:] else ""
        yield element("h2", f"The layers{several}, in order")
        yield _key(scale, model)
        yield _table(model, scale, cards, anchors)


def _key(scale: float, model: ModelOverview) -> Markup:
    step = any(layer.measurement and layer.measurement.harm for layer in model.layers)
    bars = [f"the error of the gradient {'in the training step' if step else 'on the probe'}, from 0 to {scale:g}"]
    ticks = ["the error on the probe, which is the proof"] if step else []
    swatch = element("span", element("i", style="width:100%"), class_="bar error", aria_hidden="true")
    tick = element("span", element("b", style="left:50%"), class_="bar", aria_hidden="true")
    entries = [*((swatch, told) for told in bars), *((tick, told) for told in ticks)]
    return element("ul", *(element("li", mark, told) for mark, told in entries), class_="key")


def _table(model: ModelOverview, scale: float, cards: Mapping[int, list[Group]], anchors: Mapping[int, str]) -> Markup:
    step = any(layer.measurement and layer.measurement.harm for layer in model.layers)
    titles = [("layer", "name"), ("class", "class wide"), ("gradient error", "bar-cell")]
    titles += [("step error", "number"), ("step cosine", "number wide")] if step else []
    titles += [("probe error", "number wide" if step else "number"), ("probe cosine", "number wide")]
    titles += [("finding", "verdict wide")]
    head = element("thead", element("tr", *(element("th", t, scope="col", class_=c) for t, c in titles)))
    rows = [_row(layer, scale, cards.get(id(layer), []), anchors[id(layer)], step=step) for layer in model.layers]
    return element("table", head, element("tbody", *rows), class_="layers")


def _row(layer: LayerOverview, scale: float, groups: Sequence[Group], anchor: str, *, step: bool) -> Markup:
    name = layer.place.module or "(root)"
    title = element("a", name, href=f"#finding-{groups[0].number}") if groups else name
    measured, harm = layer.measurement, layer.measurement.harm if layer.measurement else None
    numbers = [(harm.error if harm else None, "number"), (harm.cosine if harm else None, "number wide")] if step else []
    numbers += [
        (measured.error if measured else None, "number wide" if step else "number"),
        (measured.cosine if measured else None, "number wide"),
    ]
    about = "~" if measured and not measured.exact else ""
    cells = [element("td", _cell(value, about), class_=kind) for value, kind in numbers]
    return element(
        "tr",
        element("th", title, scope="row"),
        element("td", layer.place.class_name, class_="class mono wide"),
        element("td", _bar(layer, scale), class_="bar-cell"),
        *cells,
        element("td", *_verdict(layer, groups), class_="verdict wide"),
        id=anchor,
    )


def _cell(value: float | None, about: str) -> str:
    return "–" if value is None else about + number(value if abs(value) >= 5e-4 else 0.0)


def _bar(layer: LayerOverview, scale: float) -> Markup:
    if layer.measurement is None:
        return element("span", "not measured" if layer.problem else "torch’s own", class_="quiet")
    errors = _errors(layer)
    widths = [min(100.0, 100 * error / scale) if math.isfinite(error) else 100.0 for error in errors]
    severity = severity_of(layer)
    kind = severity.value if severity else "unknown" if layer.left_out else "right"
    tick = [element("b", style=f"left:{widths[1]:.1f}%")] if len(widths) > 1 else []
    filled = element("i", style=f"width:{widths[0]:.1f}%")
    return element("span", filled, *tick, class_=f"bar {kind}", aria_hidden="true")


def _errors(layer: LayerOverview) -> list[float]:
    """Return the error that the bar shows, and the one that its mark shows, if there are two."""
    measured = layer.measurement
    if measured is None:
        return []
    return [measured.error] if measured.harm is None else [measured.harm.error, measured.error]


def _verdict(layer: LayerOverview, groups: Sequence[Group]) -> Iterator[Markup]:
    if groups:
        severity = severity_of(layer) or Severity.NOTE
        links = [part for group in groups for part in _link(group, groups)]
        yield element("span", *links, class_=f"badge {severity.value}")
    elif layer.problem or layer.left_out:
        yield element("span", layer.problem or "ignored or known", class_="quiet")
    else:
        yield element("span", "right", class_="badge right")


def _link(group: Group, groups: Sequence[Group]) -> Iterator[Markup]:
    """Return the link to a card: its rule, where it is not that of the one before, and its statistic."""
    before = groups[groups.index(group) - 1] if group is not groups[0] else None
    statistic, code = group.finding.statistic, group.finding.code
    if before is not None:
        yield Markup(", ")
    words = [code] * (before is None or before.finding.code != code or not statistic) + [statistic] * bool(statistic)
    yield element("a", " ".join(word for word in words if word), href=f"#finding-{group.number}")
