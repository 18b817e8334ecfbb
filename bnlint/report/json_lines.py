"""The JSON-lines format: the objects of the JSON format, one a line."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bnlint.finding import Finding
from bnlint.report.json import as_object


def render(findings: Sequence[Finding]) -> str:
    """Render each finding as one line of JSON; no findings are no lines."""
    return "\n".join(json.dumps(as_object(finding), allow_nan=False) for finding in findings)
