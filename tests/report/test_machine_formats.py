"""The formats for CI systems and scripts; SARIF has a file of its own."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

import pytest
from findings import ALL, CELL, LAYER, LONG, ODD, ROOT, STATIC, in_file, text_at

from bnlint.finding import Severity
from bnlint.report import github, gitlab, json_lines, junit, statistics
from bnlint.report.json import render as render_json


def test_json_lines_are_the_objects_of_the_json_format() -> None:
    lines = json_lines.render(ALL).split("\n")
    assert [json.loads(line) for line in lines] == json.loads(render_json(ALL))
    assert json_lines.render([]) == ""


def command(line: str) -> tuple[str, dict[str, str], str]:
    """Read a workflow command as the runner does: split it, then undo the escapes."""
    match = re.fullmatch(r"::(\w+) (.*?)::(.*)", line)
    assert match is not None

    def plain(text: str) -> str:
        for escape, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
            text = text.replace(escape, character)
        return text

    properties = dict(each.split("=", 1) for each in match[2].split(","))
    return match[1], {key: plain(value) for key, value in properties.items()}, plain(match[3])


def test_github() -> None:
    static, long, layer, root, _ = map(command, github.render(ALL).split("\n"))
    title = {"title": "BN101 detached-statistic"}
    place = {"file": "src/norm 1.py", "line": "3", "endLine": "3", "col": "16", "endColumn": "25"}
    assert static == ("error", title | place, STATIC.message)
    assert (long[0], long[1]) == (
        "warning",
        {"title": "BN102 statistic-without-grad", "file": "a.py", "line": "2", "endLine": "4"},
    )
    assert layer == ("notice", {"title": "BN107 unknown-stop"}, "layer1.0.bn1 (Norm): a wrong gradient")
    assert root[2] == "(root) (Net): m"
    assert github.render([]) == ""


def test_what_annotates_lines_places_a_notebook_by_the_lines_of_its_file() -> None:
    _, properties, message = command(github.render([CELL], in_file))
    assert (properties["file"], properties["line"], properties["col"]) == ("nb.ipynb", "41", "20")
    assert message == "cell 2: in a cell"
    (entry,) = json.loads(gitlab.render([CELL], text_at, in_file))
    assert entry["location"] == {"path": "nb.ipynb", "lines": {"begin": 41, "end": 41}}
    assert entry["description"] == "cell 2: in a cell"
    assert entry["fingerprint"] == json.loads(gitlab.render([CELL], text_at))[0]["fingerprint"]


def test_junit_places_a_notebook_by_its_cells() -> None:
    (suite,) = ElementTree.fromstring(junit.render([CELL]).encode())
    (case,) = suite
    assert (suite.attrib["name"], case.attrib["name"]) == ("nb.ipynb", "BN101 detached-statistic at cell 2:3:16")
    assert case[0].text == "nb.ipynb:cell 2:3:16: in a cell"


def test_github_escapes_what_separates() -> None:
    (line,) = github.render([ODD.__class__(**{**fields(ODD), "name": "a,b:c%d"})]).split("\n")
    assert command(line)[1]["title"] == "BN001 a,b:c%d"


def fields(finding: object) -> dict[str, object]:
    return {name: getattr(finding, name) for name in finding.__dataclass_fields__}  # type: ignore[attr-defined]


def test_gitlab_has_what_the_report_must_have() -> None:
    entries = json.loads(gitlab.render([*ALL, STATIC], text_at))
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in {"info", "minor", "major", "critical", "blocker"}
        assert entry["location"]["path"] and entry["location"]["lines"]["begin"] >= 1
    assert len({entry["fingerprint"] for entry in entries}) == len(entries)
    static, long, layer, root = entries[:4]
    assert static["location"] == {"path": "src/norm 1.py", "lines": {"begin": 3, "end": 3}}
    assert (static["severity"], long["severity"], layer["severity"]) == ("critical", "minor", "info")
    assert layer["location"]["path"] == "layer1.0.bn1"
    assert (root["location"]["path"], root["description"]) == ("/abs/norm.py", "(root) (Net): m")
    assert json.loads(gitlab.render([], text_at)) == []


def test_junit() -> None:
    root = ElementTree.fromstring(junit.render(ALL).encode())
    assert (root.tag, root.attrib["tests"], root.attrib["failures"]) == ("testsuites", "5", "4")
    assert [suite.attrib["name"] for suite in root] == [
        *("src/norm 1.py", "a.py", "layer1.0.bn1 (Norm)", "(root) (Net)", "odd\ufffd.py"),
    ]
    for suite in root:
        cases = suite.findall("testcase")
        assert suite.attrib["tests"] == str(len(cases))
        assert suite.attrib["failures"] == str(len(suite.findall("testcase/failure")))
    failure = root.find("testsuite/testcase/failure")
    assert failure is not None and failure.attrib["type"] == "error"
    assert failure.text == f"src/norm 1.py:3:16: {STATIC.message}"


def test_junit_of_a_note_does_not_fail() -> None:
    (suite,) = ElementTree.fromstring(junit.render([LAYER]).encode())
    (case,) = suite
    assert [child.tag for child in case] == ["system-out"]
    assert suite.attrib["failures"] == "0"


def test_junit_of_nothing_is_one_case_that_passes() -> None:
    root = ElementTree.fromstring(junit.render([]).encode())
    assert len(root.findall("testsuite/testcase")) == 1
    assert root.attrib | {"name": ""} == {"name": "", "tests": "1", "failures": "0", "errors": "0"}


@pytest.mark.parametrize("output_format", ["full", "json"])
def test_statistics_order_and_sum(output_format: str) -> None:
    text = statistics.render([LONG, *ALL], output_format)
    codes = re.findall(r"BN\d+", text)
    assert codes == ["BN101", "BN102", "BN001", "BN107"]
    assert statistics.render([], "json") == "[]"
    assert Severity.NOTE in text and ROOT.name in text
