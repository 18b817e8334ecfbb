"""The full format for people: each finding with its source, and the way from statistic to stop to use."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from bnlint.errors import one_line
from bnlint.finding import Finding, Fix, Mark, Severity, SourceLocation
from bnlint.report.change import Changed, changes

SEVERITY_STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_ROLE_STYLES = {"statistic": "bold blue", "stop": "bold red", "use": "bold magenta"}
_GUTTER = "blue"
_TAB = "    "
_ELISION = "..."
#: how many cells a row has where no terminal says it
WIDEST_IN_A_FILE = 160
_LEAST_SHOWN = 12
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


@dataclass(frozen=True, slots=True)
class _Paper:
    """What is written on: how many cells a row has, and which characters exist."""

    width: int
    encoding: str

    def text(self, text: str) -> str:
        """Replace what cannot be written."""
        return printable(text, self.encoding)


@dataclass(frozen=True, slots=True)
class _Underline:
    """Characters `start` to `end` of a line, counted from 0, and what is said about them."""

    start: int
    end: int
    role: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class _Excerpt:
    """The marked lines of one file or cell, by number; `untold` are the marks that its source does not reach."""

    lines: Sequence[str]
    marked: dict[int, list[_Underline]] = field(default_factory=lambda: defaultdict(list))
    untold: list[Mark] = field(default_factory=list)


def render(
    findings: Sequence[Finding],
    read_source: Callable[[SourceLocation], str | None],
    console: Console,
    read_fixed: Callable[[Fix], tuple[str, str] | None] = lambda _: None,
) -> None:
    """Print findings in the manner of compilers: message, excerpt with the marks, fix, rule page.

    Args:
        findings: Printed in the order given.
        read_source: Gives the text of the file or cell that a location is in, or None where it cannot be read; marks
            are then told without excerpt.
        console: Where to print; it decides about color, width and encoding.
        read_fixed: Gives the text of the file that a fix changes, before and after, or None where it cannot be told.
    """
    width = console.width if console.is_terminal else WIDEST_IN_A_FILE
    paper = _Paper(width, console.encoding)
    for finding in findings:
        fixed = read_fixed(finding.fix) if finding.fix else None
        for row in _rows(finding, read_source, paper, changes(*fixed) if fixed else []):
            console.print(row, soft_wrap=not console.is_terminal)
        console.print()


def render_marks(
    findings: Sequence[Finding], read_source: Callable[[SourceLocation], str | None], console: Console
) -> None:
    """Print one excerpt for each file, with the marks of all findings in it and nothing else.

    For findings that are told elsewhere, such as those of many layers that share one line of source.
    """
    paper = _Paper(console.width if console.is_terminal else WIDEST_IN_A_FILE, console.encoding)
    marks: dict[str, dict[Mark, None]] = defaultdict(dict)
    for mark in (mark for finding in findings for mark in finding.marks):
        marks[mark.location.place][mark] = None
    for place, of_place in marks.items():
        excerpt = _excerpt(read_source, list(of_place))
        if excerpt.marked:
            digits = len(str(max(excerpt.marked)))
            for row in (_arrow("-->", one_line(place), digits, paper), *_excerpt_rows(excerpt, digits, paper)):
                console.print(row, soft_wrap=not console.is_terminal)
            console.print()


def printable(text: str, encoding: str) -> str:
    """Replace characters that a console lacks, and those that move its cursor or make code look different."""
    shown = ("\ufffd" if unicodedata.category(each) in _INVISIBLE else each for each in text.replace("\t", _TAB))
    return "".join(shown).encode(encoding, "replace").decode(encoding)


def _rows(
    finding: Finding, read_source: Callable[[SourceLocation], str | None], paper: _Paper, changed: Sequence[Changed]
) -> Iterator[Text]:
    marks: dict[str, list[Mark]] = defaultdict(list)
    if at := finding.location:
        marks[at.place] = [] if finding.marks else [Mark("stop", "", at)]
    for mark in finding.marks:
        marks[mark.location.place].append(mark)
    excerpts = {place: _excerpt(read_source, of_place) for place, of_place in marks.items()}
    numbers = [*(line for each in excerpts.values() for line in each.marked), *(line.number for line in changed)]
    digits = max((len(str(number)) for number in numbers), default=1)

    style = SEVERITY_STYLES[finding.severity]
    yield Text.assemble(
        (f"{finding.severity}[{finding.code}] ", style),
        (f"{finding.name}: {paper.text(finding.message)}", _headline_style(finding)),
    )
    if at:
        yield _arrow("-->", f"{one_line(at.place)}:{at.line}:{at.column}", digits, paper)
    elif finding.module:
        yield _arrow("-->", f"{finding.module.module or '(root)'} ({finding.module.class_name})", digits, paper)
    for place, excerpt in excerpts.items():
        if excerpt.marked and at and place != at.place:
            yield _arrow(":::", one_line(place), digits, paper)
        yield from _excerpt_rows(excerpt, digits, paper)
    for note in (*_untold(excerpts.values()), _help(finding)):
        yield _row(digits, "=", Text(paper.text(note)))
    for line in changed:
        yield _change_row(line, digits, paper)
    yield _row(digits, "=", Text(f"run `bnlint rule {finding.code}` for the page", "dim"))


def _headline_style(finding: Finding) -> str:
    """Errors are loud, notes are not."""
    return "" if finding.severity is Severity.NOTE else "bold"


def _arrow(arrow: str, target: str, digits: int, paper: _Paper) -> Text:
    return Text.assemble(" " * digits, (arrow, _GUTTER), " ", paper.text(target))


def _row(digits: int, separator: str, content: Text, number: int | None = None) -> Text:
    margin = f"{'' if number is None else number:>{digits}} {separator}"
    return Text.assemble((margin, _GUTTER), " " if content else "", content)


def _change_row(line: Changed, digits: int, paper: _Paper) -> Text:
    sign, style = ("+", "green") if line.added else ("-", "red")
    text = paper.text(line.text)
    width = paper.width - digits - len(" + ")
    if cell_len(text) > width:
        text = set_cell_size(text, width - len(_ELISION)) + _ELISION
    return Text.assemble((f"{line.number:>{digits}} ", _GUTTER), (f"{sign} {text}".rstrip(), style))


def _untold(excerpts: Iterable[_Excerpt]) -> Iterator[str]:
    for mark in (mark for excerpt in excerpts for mark in excerpt.untold if mark.text):
        yield f"{mark.text} ({one_line(mark.location.place)}:{mark.location.line})"


def _help(finding: Finding) -> str:
    if finding.fix is None:
        return (
            "help: nothing to mend where it is meant" if finding.severity is Severity.NOTE else "help: no automatic fix"
        )
    unsafe = "`bnlint fix --unsafe-fixes` does it: look at the page for what changes"
    who = "`bnlint fix` does it" if finding.fix.safe else unsafe
    return f"help: {finding.fix.message} ({who})"


def _excerpt(read_source: Callable[[SourceLocation], str | None], marks: Sequence[Mark]) -> _Excerpt:
    source = read_source(marks[0].location) if marks else None
    # Not splitlines(): a form feed or a Unicode separator does not end a line of Python.
    excerpt = _Excerpt([] if source is None else re.split(r"\r\n|\r|\n", source))
    for mark in marks:
        first, last = mark.location.line, min(mark.location.end_line, len(excerpt.lines))
        if last < first:
            excerpt.untold.append(mark)
            continue
        # The ends tell where a long expression stands; its inside would only push them apart.
        for number in range(first, last + 1) if last - first < 4 else (first, last):
            line = excerpt.lines[number - 1]
            start = mark.location.column - 1 if number == first else len(line) - len(line.lstrip())
            end = mark.location.end_column - 1 if number == mark.location.end_line else len(line.rstrip())
            underline = _Underline(start, max(end, start + 1), mark.role, mark.text if number == last else "")
            excerpt.marked[number].append(underline)
    return excerpt


def _excerpt_rows(excerpt: _Excerpt, digits: int, paper: _Paper) -> Iterator[Text]:
    if not excerpt.marked:
        return
    yield _row(digits, "|", Text())
    previous = min(excerpt.marked)
    for number in sorted(excerpt.marked):
        if number == previous + 2:
            yield from _line_rows(excerpt.lines[previous], (), previous + 1, digits, paper)
        elif number > previous + 2:
            yield Text(_ELISION, _GUTTER)
        yield from _line_rows(excerpt.lines[number - 1], excerpt.marked[number], number, digits, paper)
        previous = number
    yield _row(digits, "|", Text())


def _line_rows(line: str, underlines: Sequence[_Underline], number: int, digits: int, paper: _Paper) -> Iterator[Text]:
    """Print a line and below it a row for each underline: one row each, since marks of one line often overlap."""
    width = paper.width - digits - len(" | ")
    shown, before = paper.text(line), ""
    cut = 0
    last = max((cell_len(paper.text(line[: each.start])) for each in underlines), default=0)
    if cell_len(shown) > width and last > width - _LEAST_SHOWN:
        cut = max(0, min(each.start for each in underlines) - len(_TAB))
        before = _ELISION
    shown = before + paper.text(line[cut:])
    if cell_len(shown) > width:
        shown = set_cell_size(shown, width - len(_ELISION)) + _ELISION
    yield _row(digits, "|", Text(shown.rstrip()), number)
    for each in underlines:
        start, end = (min(cell_len(before + paper.text(line[cut:at])), width) for at in (each.start, each.end))
        for row in _underline_rows(start, max(end, start + 1), each, width, paper):
            yield _row(digits, "|", row)


def _underline_rows(start: int, end: int, underline: _Underline, width: int, paper: _Paper) -> Iterator[Text]:
    style = _ROLE_STYLES.get(underline.role, _GUTTER)
    label = paper.text(underline.label)
    drawn = " " * start + ("^" if underline.role == "stop" else "-") * (end - start)
    if not label or end + 1 + cell_len(label) <= width:
        yield Text(f"{drawn} {label}".rstrip(), style)
        return
    yield Text(drawn, style)
    indent = max(0, min(start, width - cell_len(label)))
    for part in textwrap.wrap(label, max(width, _LEAST_SHOWN)):
        yield Text(" " * indent + part, style)
