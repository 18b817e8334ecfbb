from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from findings import ALL, CELL, LAYER, LONG, ROOT, STATIC, in_file, text_at

from bnlint.finding import Finding
from bnlint.pages import load_pages
from bnlint.report.sarif import render

PAGES = load_pages()
#: the official schema of OASIS, which is too large to be copied into this repository
SCHEMA = Path(
    os.environ.get("BNLINT_SARIF_SCHEMA", Path(__file__).parents[3] / "shared" / "data" / "sarif-schema-2.1.0.json")
)
official = pytest.mark.skipif(
    not SCHEMA.is_file(), reason="BNLINT_SARIF_SCHEMA names no file, and ../shared/data has no sarif-schema-2.1.0.json"
)


def run_of(*findings: Finding) -> dict[str, Any]:
    document = json.loads(render(findings, PAGES, text_at, "1.2.3", in_file))
    assert (document["version"], len(document["runs"])) == ("2.1.0", 1)
    run: dict[str, Any] = document["runs"][0]
    return run


def result_of(finding: Finding) -> dict[str, Any]:
    (result,) = run_of(finding)["results"]
    return dict(result)


@official
@pytest.mark.parametrize("findings", [[], ALL, *([each] for each in ALL), [CELL]])
def test_every_log_is_valid(findings: list[Finding]) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(json.loads(render(findings, PAGES, text_at, "1.2.3", in_file)))


@official
@pytest.mark.parametrize("key", ["message", "level", "locations"])
def test_the_schema_would_refuse_what_is_wrong(key: str) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    document = json.loads(render([STATIC], PAGES, text_at, "1.2.3"))
    document["runs"][0]["results"][0][key] = "nonsense"
    assert not jsonschema.Draft7Validator(schema).is_valid(document)


def test_a_finding_in_a_notebook_is_placed_in_the_file_and_names_its_cell() -> None:
    result = result_of(CELL)
    region = {"startLine": 41, "startColumn": 20, "endLine": 41, "endColumn": 29}
    assert result["locations"] == [
        {
            "physicalLocation": {
                "artifactLocation": {"uri": "nb.ipynb", "uriBaseId": "%SRCROOT%"},
                "region": region,
            },
            "logicalLocations": [{"name": "cell 2", "fullyQualifiedName": "cell 2, line 3", "kind": "object"}],
        }
    ]
    (step,) = result["codeFlows"][0]["threadFlows"][0]["locations"]
    assert step["location"]["physicalLocation"]["region"] == region
    (change,) = result["fixes"][0]["artifactChanges"]
    assert change["replacements"] == [{"deletedRegion": region, "insertedContent": {"text": '\\"'}}]


def test_a_finding_in_source() -> None:
    result = result_of(STATIC)
    physical = {
        "artifactLocation": {"uri": "src/norm%201.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 3, "startColumn": 16, "endLine": 3, "endColumn": 25},
    }
    assert (result["ruleId"], result["level"], result["message"]) == ("BN101", "error", {"text": STATIC.message})
    (location,) = result["locations"]
    assert location["physicalLocation"] == physical
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "Norm.forward"


def test_the_flow_goes_from_statistic_to_stop_to_use() -> None:
    (flow,) = result_of(STATIC)["codeFlows"]
    (thread,) = flow["threadFlows"]
    steps = thread["locations"]
    assert [step["kinds"] for step in steps] == [["statistic"], ["stop"], ["use"]]
    assert [step["location"]["physicalLocation"]["region"]["startLine"] for step in steps] == [2, 3, 4]
    assert steps[1]["location"]["message"]["text"] == "its gradient stops here"


def test_the_fix_is_all_its_edits() -> None:
    (fix,) = result_of(STATIC)["fixes"]
    (change,) = fix["artifactChanges"]
    assert [each["insertedContent"]["text"] for each in change["replacements"]] == ["", " "]
    assert change["replacements"][1]["deletedRegion"] == {
        "startLine": 4,
        "startColumn": 1,
        "endLine": 4,
        "endColumn": 1,
    }


def test_a_layer_without_source_is_a_logical_location() -> None:
    result = result_of(LAYER)
    ((location,), properties) = result["locations"], result["properties"]
    assert "physicalLocation" not in location
    assert location["logicalLocations"][0]["fullyQualifiedName"] == "layer1.0.bn1"
    assert properties == {"gradientError": 0.5, "gradientCosine": 0.25}
    assert "codeFlows" not in result and "fixes" not in result


def test_what_is_not_a_number_is_left_out() -> None:
    assert "properties" not in result_of(ROOT)


def test_an_absolute_path_is_a_file_uri() -> None:
    artifact = result_of(ROOT)["locations"][0]["physicalLocation"]["artifactLocation"]
    assert artifact == {"uri": "file:///abs/norm.py"}


def test_rules_come_from_the_pages() -> None:
    run = run_of(STATIC, LONG)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(PAGES)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert all(PAGES[rule["id"]].text == rule["help"]["markdown"] for rule in rules)
    assert run["tool"]["driver"]["version"] == "1.2.3"


def test_fingerprints_do_not_know_lines_and_are_never_the_same() -> None:
    prints = [each["partialFingerprints"]["bnlintFingerprint/v1"] for each in run_of(STATIC, LAYER, STATIC)["results"]]
    assert len(set(prints)) == 3
    assert prints[:1] == [result_of(STATIC)["partialFingerprints"]["bnlintFingerprint/v1"]]
