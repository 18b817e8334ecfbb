"""Findings of a model as a test or a training log tells them: a line for each stop, the most harmful first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bnlint.finding import Finding, Severity
from bnlint.report import concise

#: what a log has room for; those below do less harm
_LINES = 20


def by_harm(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings: the severe ones first, and of these the ones with the largest error of the gradient."""
    return sorted(findings, key=_harm, reverse=True)


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Leave notes out: they tell of stops that are meant."""
    return [finding for finding in findings if finding.severity is not Severity.NOTE]


def told(findings: Sequence[Finding], model: str) -> str:
    """Tell findings in the order that they have: a headline, a line for each stop, and where to read on."""
    layers = len({finding.module for finding in findings})
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)} in {layers} layer{'s' * (layers != 1)} of {model}"
    lines = list(_lines(findings))
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    pages = ", ".join(f"`bnlint rule {code}`" for code in dict.fromkeys(finding.code for finding in findings))
    told = "".join(f"\n  {line}" for line in [*lines[:_LINES], *more])
    return f"{count}, the most harmful first:{told}\nrun {pages} for the page"


def _lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Tell findings at the same place as one: that of the first of the layers, and how many others share it."""
    groups: dict[object, list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.statistic, finding.location or finding.module), []).append(finding)
    for group in groups.values():
        others = len({finding.module for finding in group}) - 1
        also = f" (and in {others} more layer{'s' * (others != 1)})" if others else ""
        yield f"{concise.render(group[:1])}{also}"


def _harm(finding: Finding) -> tuple[int, float]:
    return finding.severity.rank, finding.measurement.ranked if finding.measurement else 0.0
