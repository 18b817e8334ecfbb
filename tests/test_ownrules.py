from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.errors import UsageError
from bnlint.ownrules import load_own_pages

PAGE = """\
+++
code = "ACME101"
name = "no-freeze"
severity = "warning"
engines = ["static"]
since = "2.0"
stops = ["acme.ops.freeze"]
+++

## What it does

Something.

## Why is this bad?

## Bad

## Good

## Fixed

## Fix safety

## When it is right

## References
"""


def write(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_pages_of_several_folders(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "ACME101-no-freeze.md", PAGE)
    b = write(tmp_path / "b", "ACME102-no-freeze.md", PAGE.replace("ACME101", "ACME102"))
    write(b, "README.md", "no page\n")
    pages = load_own_pages([a, b])
    assert [(code, page.stops) for code, page in pages.items()] == [
        ("ACME101", ("acme.ops.freeze",)),
        ("ACME102", ("acme.ops.freeze",)),
    ]


@pytest.mark.parametrize(
    ("name", "old", "new", "what"),
    [
        ("BN901-no-freeze.md", "ACME101", "BN901", "the code `BN901` must be capital letters and a number"),
        ("acme1-no-freeze.md", "ACME101", "acme1", "the code `acme1` must be"),
        ("ACME-no-freeze.md", "ACME101", "ACME", "the code `ACME` must be"),
        ("ACME101-No_Freeze.md", "no-freeze", "No_Freeze", "the name `No_Freeze` must be"),
        ("ACME101-no-freeze.md", '["static"]', '["static", "runtime"]', "`engines` must be"),
        ("ACME101-no-freeze.md", '["acme.ops.freeze"]', "[]", "`stops` must be a list of dotted paths or methods"),
        ("ACME101-no-freeze.md", 'stops = ["acme.ops.freeze"]\n', "", "`stops` must be"),
        ("ACME101-no-freeze.md", "acme.ops.freeze", "freeze", "`freeze` is neither"),
        ("ACME101-no-freeze.md", '["acme.ops.freeze"]', '"acme.ops.freeze"', "front matter: it has"),
        ("ACME101-no-freeze.md", "stops", "stop", "front matter: it has"),
        ("ACME101-no-freeze.md", '"warning"', '"loud"', "front matter: 'loud' is not a valid Severity"),
        ("ACME101-no-freeze.md", "## Good\n", "", "the heading `Good` is missing"),
        ("ACME102-no-freeze.md", "", "", "is the page of ACME101, so its name must be ACME101-no-freeze.md"),
        ("notes.md", "+++", "", "does not start with front matter"),
    ],
)
def test_a_page_that_is_none_is_one_line(tmp_path: Path, name: str, old: str, new: str, what: str) -> None:
    folder = write(tmp_path / "rules", name, PAGE.replace(old, new) if old else PAGE)
    with pytest.raises(UsageError) as caught:
        load_own_pages([folder])
    assert what in str(caught.value)
    assert caught.value.where == str(folder / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["gone", "x" * 300, "a\0b"])
def test_a_folder_must_exist(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load_own_pages([tmp_path / name])


def test_a_folder_must_have_pages(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no rule pages"):
        load_own_pages([write(tmp_path / "empty", "README.md", "")])


def test_a_code_has_one_page(tmp_path: Path) -> None:
    folders = [write(tmp_path / each, "ACME101-no-freeze.md", PAGE) for each in "ab"]
    with pytest.raises(UsageError, match="ACME101 has a second page"):
        load_own_pages(folders)


def test_a_page_that_is_no_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "rules", "ACME101-no-freeze.md", PAGE)
    (folder / "ACME101-no-freeze.md").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot be read"):
        load_own_pages([folder])
