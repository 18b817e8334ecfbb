"""The JUnit format: each finding is a failed test case, as dashboards of CI systems show them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from bnlint.finding import Finding, Severity, SourceLocation

#: characters that no XML document may hold
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(findings: Sequence[Finding]) -> str:
    """Render one suite for each file or layer; a note is a case that passes, with its message as output.

    A clean run is one suite with one case that passes, since many readers refuse a report without any.
    """
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        places.setdefault(_place(finding), []).append(finding)
    root = ElementTree.Element("testsuites", name="bnlint")
    for place, of_place in places.items():
        suite = _suite(root, place, of_place)
        for finding in of_place:
            _case(suite, place, finding)
    if not findings:
        ElementTree.SubElement(_suite(root, "bnlint", ()), "testcase", name="no findings", classname="bnlint")
    totals = {"tests": str(max(len(findings), 1)), "failures": str(_failures(findings)), "errors": "0"}
    root.attrib.update(totals)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode")


def _suite(root: ElementTree.Element, name: str, findings: Sequence[Finding]) -> ElementTree.Element:
    tests, failures = max(len(findings), 1), _failures(findings)
    return ElementTree.SubElement(
        root, "testsuite", name=_clean(name), tests=str(tests), failures=str(failures), errors="0", skipped="0"
    )


def _case(suite: ElementTree.Element, place: str, finding: Finding) -> None:
    at = finding.location
    name = f"{finding.code} {finding.name}" + (f" at {_cell(at)}{at.line}:{at.column}" if at else "")
    case = ElementTree.SubElement(suite, "testcase", name=name, classname=_clean(place))
    where = f"{at.place}:{at.line}:{at.column}: " if at else f"{place}: "
    text = _clean(f"{where}{finding.message}")
    if finding.severity is Severity.NOTE:
        ElementTree.SubElement(case, "system-out").text = text
    else:
        failure = ElementTree.SubElement(case, "failure", message=_clean(finding.message), type=finding.severity.value)
        failure.text = text


def _cell(at: SourceLocation) -> str:
    return "" if at.cell is None else f"cell {at.cell}:"


def _place(finding: Finding) -> str:
    if finding.module:
        return f"{finding.module.module or '(root)'} ({finding.module.class_name})"
    return finding.location.path if finding.location else "(root)"


def _failures(findings: Sequence[Finding]) -> int:
    return sum(finding.severity is not Severity.NOTE for finding in findings)


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
