"""The GitHub format: workflow commands, which annotate the lines of a pull request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath

from bnlint.finding import Finding, Severity, SourceLocation

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_IN_MESSAGES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_IN_PROPERTIES = {**_IN_MESSAGES, ":": "%3A", ",": "%2C"}


def render(findings: Sequence[Finding], in_file: Callable[[Finding], Finding] = lambda finding: finding) -> str:
    """Render each finding as a line `::error file=…,line=…::message`.

    Args:
        findings: In the order given.
        in_file: Gives a finding in a notebook with its places in the file, whose lines are annotated.
    """
    return "\n".join(_command(finding, in_file(finding).location) for finding in findings)


def _command(finding: Finding, at: SourceLocation | None) -> str:
    properties: dict[str, object] = {"title": f"{finding.code} {finding.name}"}
    if at:
        properties |= {"file": PurePath(at.path).as_posix(), "line": at.line, "endLine": at.end_line}
        # GitHub refuses columns of a range of several lines.
        if at.line == at.end_line:
            properties |= {"col": at.column, "endColumn": at.end_column}
    listed = ",".join(f"{name}={_escaped(str(value), _IN_PROPERTIES)}" for name, value in properties.items())
    layer = f"{finding.module.module or '(root)'} ({finding.module.class_name}): " if finding.module else ""
    cell = f"cell {finding.location.cell}: " if finding.location and finding.location.cell is not None else ""
    return f"::{_LEVELS[finding.severity]} {listed}::{_escaped(cell + layer + finding.message, _IN_MESSAGES)}"


def _escaped(text: str, table: Mapping[str, str]) -> str:
    return "".join(table.get(each, each) for each in text)
