"""The concise format: one line for each finding, as editors and grep like it."""

from __future__ import annotations

from collections.abc import Sequence

from bnlint.errors import one_line
from bnlint.finding import Finding


def render(findings: Sequence[Finding]) -> str:
    """Render each finding as `path:line:column: BN101 message`; one without a location starts with its module.

    In a notebook the path is followed by the cell (`nb.ipynb:cell 3:4:5`).
    """
    return "\n".join(one_line(f"{_where(finding)}: {finding.code} {finding.message}") for finding in findings)


def _where(finding: Finding) -> str:
    if at := finding.location:
        return f"{at.place}:{at.line}:{at.column}"
    return (finding.module.module if finding.module else "") or "(root)"
