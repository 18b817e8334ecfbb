"""The GitLab format: a Code Quality report, which merge requests show."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import PurePath

from bnlint.finding import Finding, Severity, SourceLocation
from bnlint.fingerprint import TextAt, fingerprints

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "minor", Severity.NOTE: "info"}


def render(
    findings: Sequence[Finding], text_at: TextAt, in_file: Callable[[Finding], Finding] = lambda finding: finding
) -> str:
    """Render findings as one JSON document.

    Args:
        findings: In the order given.
        text_at: Gives the text of a location, for fingerprints that outlive moved lines.
        in_file: Gives a finding in a notebook with its places in the file, whose lines GitLab shows.
    """
    named = zip(findings, fingerprints(findings, text_at), strict=True)
    return json.dumps([_entry(finding, in_file(finding).location, name) for finding, name in named], indent=2)


def _entry(finding: Finding, at: SourceLocation | None, fingerprint: str) -> dict[str, object]:
    layer = finding.module
    where = f"{layer.module or '(root)'} ({layer.class_name}): " if layer else ""
    where += f"cell {finding.location.cell}: " if finding.location and finding.location.cell is not None else ""
    # GitLab demands a path and a line; a layer whose source nobody saw is named by its place in the model.
    lines = {"begin": at.line, "end": at.end_line} if at else {"begin": 1, "end": 1}
    return {
        "description": f"{where}{finding.message}",
        "check_name": f"{finding.code} {finding.name}",
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {
            "path": PurePath(at.path).as_posix() if at else (layer.module if layer else "") or "(root)",
            "lines": lines,
        },
    }
