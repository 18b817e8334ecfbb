"""What bnlint says: frozen values that know no engine and no output format."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How harmful a finding is; the SARIF levels."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """How severe it is: 0 for a note, 2 for an error."""
        return (Severity.NOTE, Severity.WARNING, Severity.ERROR).index(self)


@dataclass(frozen=True, slots=True, order=True)
class SourceLocation:
    """A range of source text.

    Lines and columns count from 1; columns count characters, not bytes; the end column is
    exclusive (SARIF's convention). In a notebook, `cell` is the place of the cell among all cells, from 1, and lines
    count within it.
    """

    path: str
    cell: int | None = field(default=None, kw_only=True)
    line: int
    column: int
    end_line: int
    end_column: int

    @property
    def place(self) -> str:
        """What holds the range: a file, or a cell of a notebook (`nb.ipynb:cell 3`)."""
        return self.path if self.cell is None else f"{self.path}:cell {self.cell}"


@dataclass(frozen=True, slots=True)
class ModuleLocation:
    """A layer of a live model: its dotted path (`layer1.0.bn1`, "" for the root) and its class name."""

    module: str
    class_name: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A place that explains a finding, such as where the statistic is computed.

    `role` is `statistic`, `stop` or `use`; `text` says in plain words what happens there.
    """

    role: str
    text: str
    location: SourceLocation


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """Replace the text of `location` by `replacement`."""

    location: SourceLocation
    replacement: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A change of source text. `safe` means that forward values stay the same, and nothing new has to be waited for."""

    message: str
    safe: bool
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Harm:
    """How far the gradient of a training step is from the true one.

    It is that with respect to the input of a layer, in the step that was recorded: on its own input, in its own
    precision, with the gradient that arrives from the layers behind it. `error` and `cosine` mean what they mean in
    `Measurement`.
    """

    error: float
    cosine: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """How far the gradient that training sees is from the true one, in float64 on a small input of unit variance.

    `error` is the relative error `|g - g_true| / |g_true|`, `cosine` the cosine of the angle between the
    two. Both are estimates where `exact` is false: the stop could not be taken out to compare. `flows` says for
    each statistic (`mean`, `var`) whether its gradient was measured to flow. `disagreement` is the proof: that of
    autograd with a finite difference of the layer's own outputs, on an input of this `shape`. `harm` is what comes of
    it in the recorded step, where that can be told.
    """

    error: float
    cosine: float
    flows: tuple[tuple[str, bool], ...] = ()
    exact: bool = True
    disagreement: float | None = None
    shape: tuple[int, ...] = ()
    harm: Harm | None = None

    @property
    def ranked(self) -> float:
        """The error that findings are sorted by: that of the training step where it is known."""
        error = self.error if self.harm is None else self.harm.error
        return math.inf if math.isnan(error) else error


@dataclass(frozen=True, slots=True)
class Finding:
    """One reported instance of a rule.

    Findings of the static check have a `location`; findings of the runtime check also have a `module`
    and a `measurement`, and a `location` where the capture saw the line of the stop. `about` is the code of another
    rule that the finding is about: it is of interest only where that rule is.
    """

    code: str
    name: str
    severity: Severity
    message: str
    location: SourceLocation | None = None
    symbol: str | None = None
    module: ModuleLocation | None = None
    statistic: str | None = None
    stop: str | None = None
    marks: tuple[Mark, ...] = ()
    fix: Fix | None = None
    measurement: Measurement | None = None
    about: str | None = None

    @property
    def places(self) -> tuple[SourceLocation, ...]:
        """Where it stands and what it marks, its own place first."""
        return (*((self.location,) if self.location else ()), *(mark.location for mark in self.marks))

    def __str__(self) -> str:
        """Return it in one line: `path:line:column: CODE message`, or its layer where nobody knows the line."""
        at = self.location
        where = f"{at.place}:{at.line}:{at.column}" if at else (self.module.module if self.module else "") or "(root)"
        return f"{where}: {self.code} {self.message}"
