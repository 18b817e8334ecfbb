"""The test of a project's own rule page finds out where the page is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.ownrules import load_own_pages, vocabulary
from bnlint.rehearsal import deviations

PAGE = (
    (Path(__file__).parents[1] / "docs" / "vocabulary.md")
    .read_text(encoding="utf-8")
    .split("~~~~markdown\n")[1]
    .split("~~~~")[0]
)
BAD = "    return x - freeze(x.mean(dim=0))  # ACME101\n"
GOOD = "    return x - x.mean(dim=0)\n"


def told(tmp_path: Path, text: str) -> list[str]:
    (tmp_path / "ACME101-no-freeze.md").write_text(text, encoding="utf-8")
    pages = load_own_pages([tmp_path])
    return list(deviations(pages["ACME101"], vocabulary((), pages, None)))


def test_the_page_of_the_documentation_holds(tmp_path: Path) -> None:
    assert told(tmp_path, PAGE) == []


@pytest.mark.parametrize(
    ("old", "new", "at", "what"),
    [
        ("freeze(x.mean(dim=0))  # ACME101", "x.mean(dim=0)  # ACME101", BAD, "ACME101 is not found here"),
        ("  # ACME101", "", BAD, "ACME101 is found here, and no comment says so"),
        ("(dim=0))  # ACME101", "(dim=0).detach())  # ACME101", BAD, "BN101 is found here"),
        ("  # ACME101", "  # BN101", BAD, "BN101 is not found here"),
    ],
)
def test_what_does_not_hold_is_told_with_its_line(tmp_path: Path, old: str, new: str, at: str, what: str) -> None:
    number = PAGE.splitlines(keepends=True).index(at) + 1
    found = told(tmp_path, PAGE.replace(old, new, 1))
    assert any(each.startswith(f"ACME101-no-freeze.md:{number}: {what}") for each in found)


def test_right_code_must_be_silent(tmp_path: Path) -> None:
    head, good, rest = PAGE.partition("## Good")
    found = told(tmp_path, head + good + rest.replace("x - x.mean(dim=0)", "x - freeze(x.mean(dim=0))", 1))
    assert [each.partition(": ")[2] for each in found] == ["ACME101 is found here, and no comment says so"]


def test_the_fix_must_make_the_fixed_block(tmp_path: Path) -> None:
    head, fixed, rest = PAGE.partition("## Fixed")
    found = told(tmp_path, head + fixed + rest.replace("x - x.mean(dim=0)", "x - 2 * x.mean(dim=0)", 1))
    assert [each.partition(": ")[2] for each in found] == [
        "`bnlint fix` does not make the block under Fixed of this one"
    ]
