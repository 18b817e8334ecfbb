"""The source lines of a finding as HTML: statistic, stop and use marked, and the change that mends them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise

from bnlint.finding import Finding, Mark, SourceLocation
from bnlint.report.change import Changed
from bnlint.report.markup import Markup, element, joined

#: lines around a marked one that are shown too
_AROUND = 1
#: the innermost mark of a place wins: a use often encloses all of it
_ORDER = ("stop", "statistic", "use")


def excerpts(finding: Finding, read_source: Callable[[SourceLocation], str | None]) -> list[Markup]:
    """Return one excerpt for each file or cell that a finding marks, and below it what the marks say."""
    marks: dict[str, list[Mark]] = defaultdict(list)
    at = [Mark("stop", "", finding.location)] if finding.location and not finding.marks else []
    for mark in (*finding.marks, *at):
        marks[mark.location.place].append(mark)
    return [_excerpt(place, of_place, read_source) for place, of_place in marks.items()]


def change(lines: Sequence[Changed]) -> Markup:
    """Return lines that go and lines that come."""
    rows = [
        element("ins" if line.added else "del", f"{line.number:>4} {'+' if line.added else '-'} {line.text}")
        for line in lines
    ]
    return element("pre", element("code", *rows))


def _excerpt(place: str, marks: Sequence[Mark], read_source: Callable[[SourceLocation], str | None]) -> Markup:
    source = read_source(marks[0].location)
    # Not splitlines(): a form feed or a Unicode separator does not end a line of Python.
    lines = [] if source is None else re.split(r"\r\n|\r|\n", source)
    shown = [mark for mark in marks if mark.location.end_line <= len(lines)]
    numbers = sorted({n for mark in shown for n in _around(mark.location, len(lines))})
    told = [element("li", said) for said in dict.fromkeys(_said(mark) for mark in marks if mark.text)]
    margin = min((_indentation(lines[n - 1]) for n in numbers if lines[n - 1].strip()), default=0)
    rows: list[Markup] = []
    for previous, number in pairwise([0, *numbers]):
        gap = element("span", Markup("   …\n"), class_="n") if previous and number > previous + 1 else Markup("")
        rows.append(joined(gap, _row(lines[number - 1], number, shown, margin)))
    code = [element("pre", element("code", *rows))] if rows else []
    heading = element("h4", element("span", place, class_="mono"))
    return element("div", heading, *code, *([element("ul", *told, class_="marks")] if told else []))


def _around(location: SourceLocation, count: int) -> range:
    return range(max(1, location.line - _AROUND), min(count, location.end_line + _AROUND) + 1)


def _row(line: str, number: int, marks: Sequence[Mark], margin: int) -> Markup:
    spans = [(*_span(mark.location, line, number), mark.role) for mark in marks if _holds(mark.location, number)]
    cuts = sorted({min(margin, len(line)), len(line), *(cut for start, end, _ in spans for cut in (start, end))})
    parts: list[Markup] = []
    for start, end in pairwise(cuts):
        roles = {role for first, last, role in spans if first <= start and end <= last}
        role = next((each for each in _ORDER if each in roles), None)
        piece = line[start:end]
        parts.append(joined(piece) if role is None else element("mark", piece, class_=role))
    return joined(element("span", f"{number:>4}  ", class_="n"), *parts, Markup("\n"))


def _holds(location: SourceLocation, number: int) -> bool:
    return location.line <= number <= location.end_line


def _span(location: SourceLocation, line: str, number: int) -> tuple[int, int]:
    start = location.column - 1 if number == location.line else _indentation(line)
    end = location.end_column - 1 if number == location.end_line else len(line.rstrip())
    return min(start, len(line)), min(max(end, start), len(line))


def _indentation(line: str) -> int:
    return len(line) - len(line.lstrip())


def _said(mark: Mark) -> Markup:
    role = mark.role if mark.role in _ORDER else "use"
    return joined(element("mark", mark.role, class_=role), f" line {mark.location.line}: {mark.text}")
