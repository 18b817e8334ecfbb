"""The small graph of a finding: tensor, statistic, stop and use, and the gradient that comes back."""

from __future__ import annotations

from bnlint.finding import Finding
from bnlint.report.markup import Markup, element, joined

_WIDTH, _HEIGHT = 440, 190
_LONGEST = 15
_TOP, _BOTTOM = 48, 146
_BOX = 34


def drawing(finding: Finding, number: int) -> Markup | None:
    """Draw a finding about a stop; None where there is none to draw.

    Args:
        finding: The finding.
        number: That of the drawing in its page, for the names of its parts.
    """
    unseen = finding.statistic is None and finding.measurement is not None
    if finding.stop is None and not unseen:
        return None
    name, stopped = finding.statistic or "its statistics", finding.stop or "unseen stop"
    lines = {mark.role: f"line {mark.location.line}" for mark in reversed(finding.marks)}
    what = (
        f"The values flow from the input to the {name}, on to {stopped}, and from there to where they normalize the "
        f"input. The gradient comes back to the input directly, but the way through the {name} ends at {stopped}."
    )
    title = element("title", f"No gradient flows through the {name}: it is stopped by {stopped}", id=f"title-{number}")
    return element(
        "svg",
        title,
        element("desc", what, id=f"desc-{number}"),
        _arrowheads(number),
        *_edges(number),
        _node((8, _TOP), 76, "input", "", "tensor"),
        _node((304, _TOP), 84, "normalize", lines.get("use", ""), "use"),
        _node((58, _BOTTOM), 130, name, lines.get("statistic", ""), "statistic"),
        _node((226, _BOTTOM), 130, stopped, lines.get("stop", ""), "stop"),
        element("text", "output", class_="label", x=434, y=_TOP - 16, text_anchor="end"),
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        class_="graph",
        role="img",
        aria_labelledby=f"title-{number} desc-{number}",
    )


def _node(at: tuple[int, int], width: int, name: str, below: str, role: str) -> Markup:
    x, y = at
    middle = x + width / 2
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    beside = y - _BOX / 2 - 7 if y == _TOP else y + _BOX / 2 + 15
    label = [element("text", below, class_="label", x=middle, y=beside, text_anchor="middle")]
    return element(
        "g",
        element("rect", x=x, y=y - _BOX / 2, width=width, height=_BOX, rx=6),
        element("text", short, x=middle, y=y + 5, text_anchor="middle"),
        *(label if below else []),
        class_=f"node {role}",
    )


def _edges(number: int) -> list[Markup]:
    forward = [
        f"M84 {_TOP - 5} H302",
        f"M388 {_TOP - 5} H436",
        f"M36 {_TOP + 17} V{_BOTTOM - 5} H56",
        f"M188 {_BOTTOM - 5} H224",
        f"M356 {_BOTTOM - 5} H374 V{_TOP + 19}",
    ]
    back = [
        f"M436 {_TOP + 6} H390",
        f"M304 {_TOP + 6} H86",
        f"M360 {_TOP + 17} V{_BOTTOM - 27}",
    ]
    cross = [f"M353 {_BOTTOM - 31} l14 10 m-14 0 l14 -10"]
    return [
        *(element("path", d=path, class_="forward", marker_end=f"url(#values-{number})") for path in forward),
        *(element("path", d=path, class_="back", marker_end=f"url(#gradient-{number})") for path in back[:2]),
        element("path", d=back[2], class_="back lost"),
        *(element("path", d=path, class_="cross") for path in cross),
    ]


def _arrowheads(number: int) -> Markup:
    def head(name: str) -> Markup:
        return element(
            "marker",
            element("path", d="M0 0 L8 4 L0 8 z", class_=f"head {name}"),
            id=f"{name}-{number}",
            viewBox="0 0 8 8",
            refX=7,
            refY=4,
            markerWidth=7,
            markerHeight=7,
            orient="auto",
        )

    return element("defs", joined(head("values"), head("gradient")))
