"""What a test and a training log are told: one line for each stop, the most harmful first."""

from __future__ import annotations

from dataclasses import replace

from bnlint.finding import Finding, Measurement, ModuleLocation, Severity, SourceLocation
from bnlint.report.sentences import by_harm, told, wrong


def finding(layer: str, error: float, line: int | None = 3, statistic: str = "mean") -> Finding:
    return Finding(
        "BN101",
        "detached-statistic",
        Severity.ERROR,
        f"layer {layer}: no gradient flows through the {statistic}",
        SourceLocation("net.py", line, 5, line, 9) if line else None,
        module=ModuleLocation(layer, "Norm"),
        statistic=statistic,
        measurement=Measurement(error, 0.5),
    )


def test_the_most_harmful_comes_first_and_severity_counts_more() -> None:
    mild = replace(finding("d", 9.0), severity=Severity.WARNING)
    unmeasured = replace(finding("c", 0.0), measurement=None)
    found = by_harm([mild, unmeasured, finding("a", 0.1), finding("b", 0.7)])
    assert [each.module.module for each in found if each.module] == ["b", "a", "c", "d"]


def test_notes_are_not_wrong() -> None:
    note, warning = (replace(finding("a", 1.0), severity=each) for each in (Severity.NOTE, Severity.WARNING))
    assert wrong([note, warning]) == [warning]


def test_layers_that_share_a_stop_share_a_line() -> None:
    found = [finding("a", 0.7), finding("b", 0.5), finding("c", 0.3), finding("a", 0.2, line=4, statistic="var")]
    assert told(found, "Net").splitlines() == [
        "4 findings in 3 layers of Net, the most harmful first:",
        "  net.py:3:5: BN101 layer a: no gradient flows through the mean (and in 2 more layers)",
        "  net.py:4:5: BN101 layer a: no gradient flows through the var",
        "run `bnlint rule BN101` for the page",
    ]


def test_layers_without_a_place_have_lines_of_their_own() -> None:
    text = told([finding("a", 0.7, None), finding("b", 0.5, None)], "Net")
    assert text.splitlines()[1:3] == [
        "  a: BN101 layer a: no gradient flows through the mean",
        "  b: BN101 layer b: no gradient flows through the mean",
    ]


def test_a_log_is_not_flooded() -> None:
    text = told([finding("a", 1.0, line) for line in range(1, 31)], "Net")
    assert len(text.splitlines()) == 23
    assert "  and 10 more\n" in text
