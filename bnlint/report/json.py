"""The JSON format: a list of flat objects with keys that never change (docs/json.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from bnlint.finding import Finding, Fix, SourceLocation


def render(findings: Sequence[Finding]) -> str:
    """Render findings as one JSON document, in the order given.

    Returns:
        A list of objects that all have the same keys in the same order; an absent fact is null.
    """
    return json.dumps([as_object(finding) for finding in findings], indent=2, allow_nan=False)


def as_object(finding: Finding) -> dict[str, object]:
    """Return the object of one finding."""
    module, measured = finding.module, finding.measurement
    return {
        "code": finding.code,
        "name": finding.name,
        "severity": finding.severity.value,
        "message": finding.message,
        **_location(finding.location),
        "symbol": finding.symbol,
        "statistic": finding.statistic,
        "stop": finding.stop,
        "fix": _fix(finding.fix) if finding.fix else None,
        "module": module.module if module else None,
        "class_name": module.class_name if module else None,
        "gradient_error": _number(measured.error) if measured else None,
        "gradient_cosine": _number(measured.cosine) if measured else None,
        "cell": finding.location.cell if finding.location else None,
        "step_error": _number(measured.harm.error) if measured and measured.harm else None,
        "step_cosine": _number(measured.harm.cosine) if measured and measured.harm else None,
    }


def _location(location: SourceLocation | None) -> dict[str, object]:
    return {
        "path": location.path if location else None,
        "line": location.line if location else None,
        "column": location.column if location else None,
        "end_line": location.end_line if location else None,
        "end_column": location.end_column if location else None,
    }


def _fix(fix: Fix) -> dict[str, object]:
    edits = [
        {**_location(edit.location), "replacement": edit.replacement, "cell": edit.location.cell} for edit in fix.edits
    ]
    return {"message": fix.message, "safe": fix.safe, "edits": edits}


def _number(value: float) -> float | None:
    # JSON has no NaN and no infinity; a measurement that gave one has no number to tell.
    return value if math.isfinite(value) else None
