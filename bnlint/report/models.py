"""The table of findings of a model: which layers train with a wrong gradient, and how wrong it is."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence

from rich import box
from rich.console import Console
from rich.measure import Measurement as Extent
from rich.table import Table
from rich.text import Text

from bnlint.errors import one_line
from bnlint.finding import Finding, Severity
from bnlint.report.text import SEVERITY_STYLES, printable

_WORDS = ("layer", "class", "statistic", "stopped by", "at")
_PROOF = ("error", "cosine")
_STEP = ("step error", "step cosine")
_LEGEND = "probe: the proof, in float64 on a small normal input; step: the harm in the recorded training step"
_UNLIMITED = 10_000


def render(findings: Sequence[Finding], console: Console) -> None:
    """Print one table for each rule and severity, the layers with the most harm first.

    Findings of one layer with the same measurement, such as its mean and its variance, share a row. Where the
    console is too narrow, what all layers have in common is told once, above the table.
    """
    for of_rule in _grouped(findings, lambda finding: (finding.code, finding.severity)):
        rows = sorted(_grouped(of_rule, lambda finding: (finding.module, finding.measurement)), key=_harm, reverse=True)
        console.print(_headline(of_rule, len(rows), console.encoding))
        cells = [_cells(row, console.encoding) for row in rows]
        shared = _left_out(cells, console)
        if shared:
            console.print(Text("the same for all: " + "; ".join(f"{word} {cells[0][word]}" for word in shared)))
        console.print()
        console.print(_table(cells, shared))
        console.print()
        if _numbers(cells) != _PROOF:
            console.print(Text(_LEGEND, "dim"))
        console.print(Text(f"run `bnlint rule {of_rule[0].code}` for the page\n", "dim"))


def _grouped(findings: Iterable[Finding], key: Callable[[Finding], Hashable]) -> list[list[Finding]]:
    groups: dict[Hashable, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(key(finding), []).append(finding)
    return list(groups.values())


def _harm(row: Sequence[Finding]) -> float:
    measured = row[0].measurement
    return -1.0 if measured is None else measured.ranked


def _headline(findings: Sequence[Finding], layers: int, encoding: str) -> Text:
    first = findings[0]
    said = f"{layers} layer{'s'[: layers != 1]}"
    if first.severity is Severity.ERROR and any(finding.measurement for finding in findings):
        statistics = " and ".join(_unique(finding.statistic for finding in findings)) or "a statistic"
        said += f" train{'s'[: layers == 1]} with a wrong gradient: none flows back through {statistics}"
        said += " (right would be error 0 and cosine 1)"
    else:
        said += f": {'; '.join(_unique(finding.message for finding in findings))}"
    style = SEVERITY_STYLES[first.severity]
    return Text.assemble(
        (f"{first.severity}[{first.code}] ", style), (f"{first.name}: {printable(said, encoding)}", "bold")
    )


def _cells(row: Sequence[Finding], encoding: str) -> dict[str, str]:
    layer, measured = row[0].module, row[0].measurement
    lines: dict[str, set[int]] = {}
    for at in (finding.location for finding in row):
        if at:
            lines.setdefault(at.path, set()).add(at.line)
    places = (f"{one_line(path)}:{', '.join(map(str, sorted(numbers)))}" for path, numbers in lines.items())
    about = "~" if measured and not measured.exact else ""
    texts = {
        "layer": (layer.module if layer else "") or "(root)",
        "class": layer.class_name if layer else "-",
        "statistic": ", ".join(_unique(finding.statistic for finding in row)) or "?",
        "stopped by": ", ".join(_unique(finding.stop for finding in row)) or "?",
        "at": ", ".join(places) or "?",
        "error": about + _number(measured.error) if measured else "-",
        "cosine": about + _number(measured.cosine) if measured else "-",
        "step error": _number(measured.harm.error) if measured and measured.harm else "-",
        "step cosine": _number(measured.harm.cosine) if measured and measured.harm else "-",
    }
    return {column: printable(text, encoding) for column, text in texts.items()}


def _unique(texts: Iterable[str | None]) -> list[str]:
    return list(dict.fromkeys(text for text in texts if text))


def _number(value: float) -> str:
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.1e}"


def _table(cells: Sequence[dict[str, str]], left_out: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    words = [word for word in _WORDS if word not in left_out]
    numbers = _numbers(cells)
    above = "" if numbers == _PROOF else "\n"
    for word in words:
        table.add_column(above + word, overflow="fold", style="bold" if word == "layer" else "")
    for number in numbers:
        kind = "step" if number in _STEP else "probe"
        title = f"{kind}\n{number.split()[-1]}" if above else number
        table.add_column(title, justify="right", no_wrap=True)
    for row in cells:
        table.add_row(*(Text(row[column]) for column in (*words, *numbers)))
    return table


def _numbers(cells: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """Return the columns of numbers: what no row knows is left out."""
    return _PROOF if all(row["step error"] == "-" for row in cells) else (*_PROOF, *_STEP)


def _left_out(cells: Sequence[dict[str, str]], console: Console) -> list[str]:
    """Name the columns to tell once instead: of those with one value, the widest, until the table fits."""
    unlimited = console.options.update(max_width=_UNLIMITED)
    common = [word for word in _WORDS[1:] if len({row[word] for row in cells}) == 1]
    left_out: list[str] = []
    for word in sorted(common, key=lambda word: len(cells[0][word]), reverse=True):
        if Extent.get(console, unlimited, _table(cells, left_out)).maximum <= console.width:
            break
        left_out.append(word)
    return left_out
