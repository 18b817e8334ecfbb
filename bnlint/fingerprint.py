"""What makes a finding the same one after the lines around it have moved."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from pathlib import PurePath

from bnlint.finding import Finding, SourceLocation

#: gives the text of a location
TextAt = Callable[[SourceLocation | None], str]


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """The file, rule, enclosing symbol, layer and text of a finding: everything but the line."""

    path: str
    code: str
    symbol: str
    module: str
    text: str


def identity(finding: Finding, text_at: TextAt) -> Identity:
    """Tell what a finding is, apart from where in its file it stands and how its lines are broken."""
    at = finding.location
    module = f"{finding.module.module} ({finding.module.class_name})" if finding.module else ""
    path = PurePath(at.path).as_posix() if at else ""
    # In one function several statistics may be stopped by the same words.
    places = (*(mark.location for mark in finding.marks if mark.role == "statistic"), at)
    text = "->".join(dict.fromkeys(_normalized(text_at(place)) for place in places))
    return Identity(path, finding.code, finding.symbol or "", module, text)


def _normalized(text: str) -> str:
    return " ".join(re.sub(r"\s*([^\w\s])\s*", r"\1", text).split())


def fingerprints(findings: Sequence[Finding], text_at: TextAt) -> list[str]:
    """Give each finding a name that stays its own: equal findings are numbered in the order given."""
    seen: Counter[Identity] = Counter()
    names: list[str] = []
    for finding in findings:
        what = identity(finding, text_at)
        names.append(hashlib.sha256(json.dumps([*astuple(what), seen[what]]).encode()).hexdigest()[:32])
        seen[what] += 1
    return names
