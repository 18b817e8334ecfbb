"""The rule pages are the tests of their rules: what is true of every page, whatever its rule is about."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from blocks import (
    ABOUT_GRADIENTS,
    RIGHT,
    WITH_AND_WITHOUT_INPUT,
    Example,
    examples,
    has_a_safe_fix,
    layer_of,
    marked,
    told,
)
from click.testing import CliRunner
from torch import Tensor

from bnlint.catalog import BY_CODE
from bnlint.cli import cli
from bnlint.finding import Severity
from bnlint.model.check import check_model
from bnlint.pages import load_pages
from bnlint.source.check import check_source, fix_source

ROOT = Path(__file__).parents[2]
PAGES = load_pages()
BAD = list(examples("Bad"))

pytestmark = ABOUT_GRADIENTS


# -- pages and catalog


def test_pages_and_catalog_agree() -> None:
    facts = {page.code: (page.name, page.severity, page.engines) for page in PAGES.values()}

    assert facts == {code: (rule.name, rule.severity, rule.engines) for code, rule in BY_CODE.items()}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", page.since) for page in PAGES.values())


@pytest.mark.parametrize("code", PAGES)
def test_a_page_has_what_the_tests_below_need(code: str) -> None:
    sections = [block.section for block in PAGES[code].blocks]
    bad = [each for each in BAD if each.page.code == code]

    assert sections.count("Bad") == sections.count("Fixed") >= 1
    assert sections.count("Good") >= 1
    assert set(sections) <= {"Bad", *RIGHT}
    for each in bad:
        assert {found for _, found in each.marks} == ({code} if "static" in PAGES[code].engines else set())
        assert each.fixed != each.code
    assert not any(block.marks for block in examples(*RIGHT))


@pytest.mark.parametrize("code", PAGES)
def test_rule_prints_the_page(code: str) -> None:
    result = CliRunner().invoke(cli, ["rule", code.lower()], standalone_mode=False)

    assert result.exception is None and result.return_value == 0
    assert PAGES[code].text in result.output
    assert f"{code} {PAGES[code].name}" in result.output


def test_pages_reach_the_wheel() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]["rules"] == "bnlint/rules"
    assert sorted(path.name for path in (ROOT / "rules").iterdir()) == sorted(
        f"{page.code}-{page.name}.md" for page in PAGES.values()
    )


# -- Bad


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_static_check_reports_exactly_the_marked_lines(bad: Example) -> None:
    assert marked(told(bad.page, check_source(bad.block.code.encode(), "page.py"))) == bad.marks
    findings = told(bad.page, check_source(bad.code.encode(), "page.py"))
    assert marked(findings) == bad.marks
    assert all((finding.fix is not None and finding.fix.safe) == has_a_safe_fix(bad) for finding in findings)


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_fix_makes_the_fixed_block_or_nothing(bad: Example) -> None:
    fixed = fix_source(bad.code.encode(), "page.py", lambda finding: True).decode()

    assert fixed == (bad.fixed if has_a_safe_fix(bad) else bad.code)


# -- Good, Fixed, When it is right


@pytest.mark.parametrize("right", list(examples(*RIGHT)), ids=str)
def test_right_code_is_no_more_than_a_note_in_the_static_check(right: Example) -> None:
    found = told(right.page, check_source(right.code.encode(), "page.py"))
    assert all(finding.severity is Severity.NOTE for finding in found)
    assert not found or may_be_noted(right)


def may_be_noted(right: Example) -> bool:
    return right.block.section == "When it is right" and right.page.severity is not Severity.NOTE


@pytest.mark.parametrize("right", list(examples(*RIGHT)), ids=str)
@WITH_AND_WITHOUT_INPUT
def test_right_code_is_no_more_than_a_note_in_the_runtime_check(
    right: Example, inputs: tuple[Tensor, ...], tmp_path: Path
) -> None:
    found = told(right.page, check_model(layer_of(right.code, tmp_path), *inputs))
    assert all(finding.severity is Severity.NOTE for finding in found)
    assert not found or may_be_noted(right)
