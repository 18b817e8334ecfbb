"""The concise format: one line for each finding, as editors and grep like it."""

from __future__ import annotations

from collections.abc import Sequence

from bnlint.errors import one_line
from bnlint.finding import Finding


def render(findings: Sequence[Finding]) -> str:
    """Render each finding as `path:line:column: BN101 message`; one without a location starts with its module.

    In a notebook the path is followed by the cell (`nb.ipynb:cell 3:4:5`).
    """
    return "\n".join(one_line(str(finding)) for finding in findings)
