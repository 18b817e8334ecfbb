from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from bnlint.finding import Edit, Finding, Fix, Mark, Measurement, ModuleLocation, Severity, SourceLocation
from bnlint.report.json import render

DOCS = Path(__file__).parents[2] / "docs" / "json.md"
KEYS = [
    *("code", "name", "severity", "message", "path", "line", "column", "end_line", "end_column", "symbol"),
    *("statistic", "stop", "fix", "module", "class_name", "gradient_error", "gradient_cosine", "cell"),
    *("step_error", "step_cosine"),
]
AT = SourceLocation("src/norm.py", 12, 16, 12, 36)
STATIC = Finding(
    "BN101",
    "detached-statistic",
    Severity.ERROR,
    "a message with “quotes” and 平均",
    AT,
    symbol="Norm.forward",
    statistic="mean",
    stop="detach",
    marks=(Mark("stop", "here", AT),),
    fix=Fix("remove `.detach()`", True, (Edit(SourceLocation("src/norm.py", 12, 27, 12, 36), ""),)),
)


def model_finding(error: float, cosine: float) -> Finding:
    layer = ModuleLocation("layer1.0.bn1", "Norm")
    return Finding("BN101", "n", Severity.NOTE, "m", module=layer, measurement=Measurement(error, cosine))


def test_finding_of_the_static_check() -> None:
    [item] = json.loads(render([STATIC]))
    assert list(item) == KEYS
    assert item == {
        "code": "BN101",
        "name": "detached-statistic",
        "severity": "error",
        "message": "a message with “quotes” and 平均",
        "path": "src/norm.py",
        "line": 12,
        "column": 16,
        "end_line": 12,
        "end_column": 36,
        "symbol": "Norm.forward",
        "statistic": "mean",
        "stop": "detach",
        "fix": {
            "message": "remove `.detach()`",
            "safe": True,
            "edits": [
                {
                    "path": "src/norm.py",
                    "line": 12,
                    "column": 27,
                    "end_line": 12,
                    "end_column": 36,
                    "replacement": "",
                    "cell": None,
                }
            ],
        },
        "module": None,
        "class_name": None,
        "gradient_error": None,
        "gradient_cosine": None,
        "cell": None,
        "step_error": None,
        "step_cosine": None,
    }


def test_finding_of_a_model_has_the_same_keys_and_full_precision() -> None:
    [item] = json.loads(render([model_finding(0.1 + 0.2, -0.25)]))
    assert list(item) == KEYS
    assert (item["module"], item["class_name"]) == ("layer1.0.bn1", "Norm")
    assert (item["gradient_error"], item["gradient_cosine"]) == (0.1 + 0.2, -0.25)
    absent = ("path", "line", "column", "end_line", "end_column", "symbol", "statistic", "stop", "fix")
    assert [item[key] for key in absent] == [None] * len(absent)


def test_finding_in_a_notebook_tells_the_cell() -> None:
    place = SourceLocation("nb.ipynb", 2, 3, 2, 5, cell=4)
    fix = Fix("", True, (Edit(SourceLocation("nb.ipynb", 1, 1, 1, 1, cell=1), "x"),))
    [item] = json.loads(render([Finding("BN101", "n", Severity.NOTE, "m", place, fix=fix)]))
    assert (item["path"], item["cell"], item["line"]) == ("nb.ipynb", 4, 2)
    assert item["fix"]["edits"][0]["cell"] == 1


def test_root_module_is_not_absent() -> None:
    [item] = json.loads(render([Finding("BN101", "n", Severity.NOTE, "m", module=ModuleLocation("", "Net"))]))
    assert item["module"] == ""


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_number_that_json_does_not_have_is_null(value: float) -> None:
    document = render([model_finding(value, value)])

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    [item] = json.loads(document, parse_constant=refuse)
    assert item["gradient_error"] is None and item["gradient_cosine"] is None


def test_document_is_ascii_and_a_list_in_the_order_given() -> None:
    assert json.loads(render([])) == []
    document = render([model_finding(1.0, 0.0), STATIC])
    assert document.isascii()
    assert [item["line"] for item in json.loads(document)] == [None, 12]


def test_documentation_has_these_keys() -> None:
    text = DOCS.read_text(encoding="utf-8")
    table = text[: text.index("## `fix`")]
    cells = [cell for cell in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) if "`" in cell]
    assert [key for cell in cells for key in re.findall(r"`(\w+)`", cell)] == KEYS
    [example] = json.loads(text.split("```json\n")[1].split("```")[0])
    assert list(example) == KEYS
    [rendered] = json.loads(render([STATIC]))
    assert list(example["fix"]) == list(rendered["fix"])
    assert list(example["fix"]["edits"][0]) == list(rendered["fix"]["edits"][0])
