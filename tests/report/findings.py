"""Findings of every kind, for the formats that must be able to tell each of them."""

from __future__ import annotations

from dataclasses import replace

from bnlint.finding import (
    Edit,
    Finding,
    Fix,
    Mark,
    Measurement,
    ModuleLocation,
    Severity,
    SourceLocation,
)

SOURCE = "def f(x):\n    mean = x.mean()\n    mean = mean.detach()\n    return x - mean\n"


def at(line: int, column: int, end: int, path: str = "src/norm 1.py") -> SourceLocation:
    return SourceLocation(path, line, column, line, end)


STATIC = Finding(
    "BN101",
    "detached-statistic",
    Severity.ERROR,
    "the mean is detached: 100 % of “it”, and more\n<&>",
    at(3, 16, 25),
    symbol="Norm.forward",
    statistic="mean",
    stop="detach",
    marks=(
        Mark("statistic", "the mean is computed here", at(2, 12, 20)),
        Mark("stop", "its gradient stops here", at(3, 16, 25)),
        Mark("use", "and it normalizes its own input here", at(4, 12, 20)),
    ),
    fix=Fix("remove `.detach()`", True, (Edit(at(3, 16, 25), ""), Edit(at(4, 1, 1), " "))),
)
LONG = Finding("BN102", "statistic-without-grad", Severity.WARNING, "m", SourceLocation("a.py", 2, 1, 4, 9))
LAYER = Finding(
    "BN107",
    "unknown-stop",
    Severity.NOTE,
    "a wrong gradient",
    module=ModuleLocation("layer1.0.bn1", "Norm"),
    measurement=Measurement(0.5, 0.25),
)
ROOT = Finding(
    "BN101",
    "detached-statistic",
    Severity.ERROR,
    "m",
    at(3, 16, 25, "/abs/norm.py"),
    module=ModuleLocation("", "Net"),
    measurement=Measurement(float("nan"), float("inf")),
)
ODD = Finding(
    "BN001", "syntax-error", Severity.ERROR, "not valid \x1b[31m, \ufffe or \ud800", at(1, 1, 1, "odd\x0b.py")
)
#: what is said of a notebook, and what it is in the file
CELL = Finding(
    "BN101",
    "detached-statistic",
    Severity.ERROR,
    "in a cell",
    SourceLocation("nb.ipynb", 3, 16, 3, 25, cell=2),
    marks=(Mark("stop", "here", SourceLocation("nb.ipynb", 3, 16, 3, 25, cell=2)),),
    fix=Fix("remove it", True, (Edit(SourceLocation("nb.ipynb", 3, 16, 3, 25, cell=2), '"'),)),
)
IN_FILE = replace(
    CELL,
    location=at(41, 20, 29, "nb.ipynb"),
    marks=(Mark("stop", "here", at(41, 20, 29, "nb.ipynb")),),
    fix=Fix("remove it", True, (Edit(at(41, 20, 29, "nb.ipynb"), '\\"'),)),
)
ALL = [STATIC, LONG, LAYER, ROOT, ODD]


def text_at(location: SourceLocation | None) -> str:
    """The text of a location in SOURCE, whatever the path."""
    if location is None or location.line != location.end_line:
        return ""
    return SOURCE.splitlines()[location.line - 1][location.column - 1 : location.end_column - 1]


def in_file(finding: Finding) -> Finding:
    """What a reader of files gives for a finding."""
    return IN_FILE if finding == CELL else finding
