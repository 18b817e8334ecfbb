"""The page about a model, read as a browser reads it: with a parser that knows which element is where."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from bnlint.finding import Finding, Harm, Mark, Measurement, ModuleLocation, Severity, SourceLocation
from bnlint.overview import LayerOverview, ModelOverview, Overview
from bnlint.report.cards import Remedy
from bnlint.report.change import Changed
from bnlint.report.drawing import drawing
from bnlint.report.page import render
from bnlint.report.style import STYLE

VOID = {"meta", "br", "link", "img"}
HOSTILE = "</title></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\u202e\x1b[31m\udc80"
SOURCE = "\n".join(["def f(x):", "    mean = x.mean()", "    mean = mean.detach()", "    a = 1", "    return x - mean"])


class Page(HTMLParser):
    """Elements with their attributes, and the text of each; what is not closed in order is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append((self.open[-1] if self.open else "", data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text(self, tag: str = "") -> str:
        return " ".join(
            "".join(f"{word}" for name, word in self.words if tag in ("", name) and name != "style").split()
        )


def at(line: int, column: int = 1, end: int = 2, path: str = "norm.py") -> SourceLocation:
    return SourceLocation(path, line, column, line, end)


NO_REMEDY = Remedy()
MARKS = (
    Mark("statistic", "the mean is computed here", at(2, 12, 20)),
    Mark("stop", "its gradient stops here", at(3, 16, 25)),
    Mark("use", "and it normalizes its own input here", at(5, 12, 20)),
)


def found(**facts: object) -> Finding:
    usual = Finding(
        "BN101", "detached-statistic", Severity.ERROR, "a message", at(3, 16, 25), statistic="mean", stop="detach"
    )
    return replace(usual, **{"marks": MARKS, "measurement": Measurement(0.3, 0.9), **facts})


def layer(name: str, *findings: Finding, measurement: Measurement | None = None, **facts: object) -> LayerOverview:
    measured = measurement or (findings[0].measurement if findings else None)
    return LayerOverview(ModuleLocation(name, facts.pop("class_name", "Norm")), measured, findings=findings, **facts)


def page(*layers: LayerOverview, remedy: Remedy = NO_REMEDY, source: str | None = SOURCE) -> str:
    overview = Overview((ModelOverview("pkg:make", layers),), (("device", "cpu"),))
    return render(overview, lambda _: source, lambda _: remedy, "1.2.3")


WRONG = found(measurement=Measurement(0.3, 0.9, harm=Harm(0.5, 0.8), disagreement=0.2, shape=(4, 8, 4, 4)))


def test_the_page_is_whole_and_asks_nobody_for_anything() -> None:
    html = page(layer("bn1", WRONG), layer("bn2"))
    parsed = Page(html)
    assert html.startswith("<!DOCTYPE html>") and parsed.of("html") == [{"lang": "en"}]
    assert not {"script", "link", "img", "iframe"} & {name for name, _ in parsed.elements}
    assert not re.search(r"https?:|//|@import|url\((?!#)", html.replace("<!DOCTYPE html>", ""))
    assert {"charset": "utf-8"} in parsed.of("meta")


def test_the_style_knows_dark_screens_narrow_ones_and_paper() -> None:
    assert "prefers-color-scheme: dark" in STYLE and "max-width" in STYLE and "@media print" in STYLE


def test_every_link_leads_to_a_place_of_the_page_and_every_name_is_there_once() -> None:
    parsed = Page(page(*(layer(f"bn{i}", WRONG, found(statistic="var", location=at(4))) for i in range(3))))
    names = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(names) == len(set(names))
    used = [a["href"] for a in parsed.of("a")] + [
        f"#{i}" for s in parsed.of("svg") for i in s["aria-labelledby"].split()
    ]
    assert used and {name.removeprefix("#") for name in used if name} <= set(names)
    assert set(re.findall(r"url\(#([\w-]+)\)", str(parsed.elements))) <= set(names)


@pytest.mark.parametrize("where", ["module", "class_name", "path", "stop", "statistic", "message", "line", "target"])
def test_hostile_names_stay_text(where: str) -> None:
    facts = {where: HOSTILE} if where in ("stop", "statistic", "message") else {}
    marks = tuple(replace(mark, location=replace(mark.location, path=HOSTILE)) for mark in MARKS)
    bad = found(**facts, **({"marks": marks} if where == "path" else {}))
    one = layer(HOSTILE if where == "module" else "bn", bad, class_name=HOSTILE if where == "class_name" else "Norm")
    source = SOURCE.replace("mean()", f"mean(){HOSTILE}") if where == "line" else SOURCE
    remedy = Remedy(HOSTILE, [Changed(1, True, HOSTILE)], [HOSTILE])
    overview = Overview((ModelOverview(HOSTILE if where == "target" else "m", (one,)),), ((HOSTILE, HOSTILE),))

    html = render(overview, lambda _: source, lambda _: remedy, "1")

    parsed = Page(html)
    assert not {"script", "img"} & {name for name, _ in parsed.elements}
    assert not any(key.startswith("on") for _, attributes in parsed.elements for key in attributes)
    assert not set("\u202e\x1b\udc80") & set(html)
    assert "<script>alert(1)</script>" in parsed.text()
    html.encode()  # it can be written


def test_layers_are_in_order_with_bars_of_one_scale() -> None:
    html = page(
        layer("late", WRONG), layer("a"), layer("b", measurement=Measurement(1e-16, 1.0)), layer("c", problem="odd")
    )
    rows = re.findall(r'<tr id="layer-(\d)"><th scope="row">(?:<a [^>]*>)?(\w+)', html)
    assert rows == [("1", "late"), ("2", "a"), ("3", "b"), ("4", "c")]
    assert re.findall(r'class="bar (\w+)" aria-hidden="true"><i style="width:([\d.]+)%"></i>(.*?)</span>', html)[
        1:
    ] == [
        ("error", "100.0", '<b style="left:60.0%"></b>'),
        ("right", "0.0", ""),
    ]
    assert "from 0 to 0.5" in html
    text = Page(html).text()
    assert "torch’s own" in text and "not measured" in text and "odd" in text


def test_a_number_that_is_none_fills_its_bar() -> None:
    html = page(layer("bn", found(measurement=Measurement(float("nan"), float("nan")))))
    assert 'class="bar error" aria-hidden="true"><i style="width:100.0%">' in html


def test_a_stop_that_layers_share_is_one_card_with_its_worst_layer() -> None:
    mild, bad = found(measurement=Measurement(0.1, 0.9)), found(measurement=Measurement(0.4, 0.7))
    parsed = Page(page(layer("one", mild), layer("two", bad)))
    assert len(parsed.of("article")) == 1
    assert "in the worst layer, two" in parsed.text()
    names = [name for tag, name in parsed.words if tag == "a"]
    assert names[-2:] == ["two", "one"]


def test_the_numbers_of_the_proof_and_of_the_step_are_told() -> None:
    parsed = Page(page(layer("bn", replace(WRONG, measurement=replace(WRONG.measurement, flows=(("mean", False),))))))
    told = [word for tag, word in parsed.words if tag == "dd"]
    for value in ("0.500", "0.800", "0.300", "0.900", "0.200 (right is below 0.001)", "4 × 8 × 4 × 4", "stopped"):
        assert value in told
    assert "about 0.300" in Page(page(layer("bn", found(measurement=Measurement(0.3, 0.9, exact=False))))).text()


def test_the_source_is_shown_with_its_marks() -> None:
    html = page(layer("bn", WRONG))
    assert '<mark class="statistic">x.mean()</mark>' in html
    assert '<mark class="stop">.detach()</mark>' in html
    assert '<mark class="use">x - mean</mark>' in html
    text = Page(html).text()
    assert "stop line 3: its gradient stops here" in text and "4 a = 1" in text


def test_an_inner_mark_wins_and_lines_that_are_gone_are_told_in_words() -> None:
    whole = Mark("use", "all of it", at(3, 5, 25))
    html = page(layer("bn", found(marks=(whole, *MARKS[1:]))))
    assert '<mark class="use">mean = mean</mark><mark class="stop">.detach()</mark>' in html
    gone = Page(page(layer("bn", WRONG), source="x = 1"))
    assert "statistic line 2: the mean is computed here" in gone.text() and not gone.of("ins")
    assert "line 2" in Page(page(layer("bn", WRONG), source=None)).text()


def test_marks_that_say_the_same_are_told_once() -> None:
    twice = Mark("stop", "perhaps this", at(3, 1, 3)), Mark("stop", "perhaps this", at(3, 4, 6))
    assert Page(page(layer("bn", found(marks=twice)))).text().count("perhaps this") == 1


def test_the_fix_is_a_change_and_a_command() -> None:
    lines = [Changed(3, False, "mean = mean.detach()"), Changed(3, True, "mean = mean")]
    parsed = Page(page(layer("bn", WRONG), remedy=Remedy("remove `.detach()`", lines, ["bnlint fix norm.py"])))
    assert "3 - mean = mean.detach()" in parsed.text("del") and "3 + mean = mean" in parsed.text("ins")
    assert "Run bnlint fix norm.py. The rule is explained by bnlint rule BN101." in parsed.text()
    assert "There is no automatic one: bnlint rule BN101 says what to do." in Page(page(layer("bn", WRONG))).text()
    note = Page(page(layer("bn", found(severity=Severity.NOTE))))
    assert "Nothing to mend where it is meant." in note.text()


def test_the_drawing_tells_in_words_what_it_shows() -> None:
    svg = drawing(found(), 7)
    assert svg is not None
    parsed = Page(svg)
    assert parsed.of("svg")[0]["role"] == "img"
    assert "No gradient flows through the mean: it is stopped by detach" in parsed.text("title")
    assert [word for tag, word in parsed.words if tag == "text"] == [
        *("input", "normalize", "line 5", "mean", "line 2", "detach", "line 3", "output")
    ]


def test_a_stop_that_nobody_saw_is_drawn_as_one_and_other_rules_are_not_drawn() -> None:
    unseen = drawing(found(code="BN107", statistic=None, stop=None, marks=()), 1)
    assert unseen is not None and "unseen stop" in unseen
    assert drawing(found(code="BN106", statistic="running_mean", stop=None), 1) is None


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ((), "No normalization found"),
        ((layer("a"),), "The one normalization layer is torch’s own"),
        ((layer("a"), layer("b")), "All 2 normalization layers are torch’s own"),
        ((layer("a", measurement=Measurement(0, 1)),), "The gradient is right in the one normalization layer"),
        ((layer("a", problem="odd"),), "No normalization layer could be measured"),
        (
            (layer("a", measurement=Measurement(0, 1)), layer("b")),
            "The gradient is right in all 2 normalization layers",
        ),
        (
            (layer("a", measurement=Measurement(0.5, 0.5), left_out=True), layer("b")),
            "What was found in 1 normalization layer is ignored, or known already",
        ),
        ((layer("a", WRONG), layer("b")), "1 of 2 normalization layers trains with a wrong gradient"),
        (
            (layer("a", found(severity=Severity.NOTE)),),
            "No gradient is wrong, and there is something to know about 1 of 1 normalization layer",
        ),
    ],
)
def test_the_headline_says_how_it_is(layers: tuple[LayerOverview, ...], said: str) -> None:
    assert Page(page(*layers)).text("h1") == said
