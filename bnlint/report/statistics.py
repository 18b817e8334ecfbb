"""How often each rule reports something, instead of the findings themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence

from bnlint.finding import Finding

#: the formats in which counts can be told
FORMATS = ("full", "concise", "json")


def render(findings: Sequence[Finding], output_format: str) -> str:
    """Render the counts, the most frequent rule first: a table for people, or a JSON list of flat objects."""
    rows = _rows(findings)
    if output_format == "json":
        return json.dumps(rows, indent=2)
    count = max((len(str(row["count"])) for row in rows), default=0)
    name = max((len(str(row["name"])) for row in rows), default=0)
    lines = (
        f"{row['count']:>{count}}  {row['code']}  {row['name']:<{name}}  {row['severity']:<7}  {row['fixable']} fixable"
        for row in rows
    )
    return "\n".join(lines)


def _rows(findings: Sequence[Finding]) -> list[dict[str, object]]:
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.name, finding.severity.value), []).append(finding)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "code": code,
            "name": name,
            "severity": severity,
            "count": len(of_rule),
            "fixable": sum(finding.fix is not None and finding.fix.safe for finding in of_rule),
        }
        for (code, name, severity), of_rule in ordered
    ]
