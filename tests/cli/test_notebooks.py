"""Notebooks on the command line: found, told, fixed and suppressed as a user does it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from notebooks import BAD, sources, written
from terminal import Cli

from bnlint.finding import Edit, SourceLocation
from bnlint.source import check as static
from bnlint.source.text import SourceText, apply

NOTEBOOK = written("# Text", "%matplotlib inline\nimport torch", f"{BAD}  # é")
#: the output before the source has the same text, and keeps it
AFTER = b"".join(NOTEBOOK.rsplit(b".detach()", 1))


def test_notebooks_are_found_and_told_by_cell(cli: Cli) -> None:
    cli.write("a/nb.ipynb", NOTEBOOK)
    cli.write("a/.ipynb_checkpoints/nb-checkpoint.ipynb", NOTEBOOK)
    cli.write("b.py", BAD)
    result = cli("check", "--output-format", "concise")
    assert result.code == 1
    assert [line.split(" BN101 ")[0] for line in result.out.splitlines()] == [
        f"{Path('a/nb.ipynb')}:cell 3:2:24:",
        "b.py:2:24:",
    ]
    assert "2 findings (1 Python file, 1 notebook)" in result.err


def test_findings_come_in_the_order_of_the_cells(cli: Cli) -> None:
    cli.write("nb.ipynb", written(f"y = 1\n{BAD}", BAD.replace("f(", "g(")))
    lines = cli("check", "nb.ipynb", "--output-format", "concise").out.splitlines()
    assert [line.split(" BN101 ")[0] for line in lines] == ["nb.ipynb:cell 1:3:24:", "nb.ipynb:cell 2:2:24:"]


def test_an_excerpt_shows_the_cell(cli: Cli) -> None:
    cli.write("nb.ipynb", NOTEBOOK)
    result = cli("check", "nb.ipynb")
    assert " --> nb.ipynb:cell 3:2:24\n" in result.out
    assert "2 |     return x - x.mean().detach()  # é\n" in result.out
    assert "2 -     return x - x.mean().detach()  # é\n2 +     return x - x.mean()  # é\n" in result.out


def test_fix_changes_the_source_and_nothing_else(cli: Cli) -> None:
    path = cli.write("nb.ipynb", NOTEBOOK)
    assert cli("fix", "nb.ipynb").code == 0
    assert path.read_bytes() == AFTER
    assert cli("check", "nb.ipynb").code == 0


def test_a_diff_shows_cells_and_writes_nothing(cli: Cli) -> None:
    path = cli.write("nb.ipynb", NOTEBOOK)
    result = cli("fix", "nb.ipynb", "--diff")
    assert result.code == 1
    assert result.out.splitlines() == [
        "--- nb.ipynb:cell 3",
        "+++ nb.ipynb:cell 3",
        "@@ -1,2 +1,2 @@",
        " def f(x):",
        "-    return x - x.mean().detach()  # é",
        "+    return x - x.mean()  # é",
    ]
    assert path.read_bytes() == NOTEBOOK


def test_stdin(cli: Cli) -> None:
    result = cli("check", "--stdin-filename", "x.ipynb", "--output-format", "concise", "-", stdin=NOTEBOOK)
    assert result.code == 1
    assert result.out.startswith("x.ipynb:cell 3:2:24: BN101 ")
    result = cli("fix", "--stdin-filename", "x.ipynb", "-", stdin=NOTEBOOK)
    assert (result.code, result.out.encode()) == (0, AFTER)
    assert not (cli.folder / "x.ipynb").exists()


def test_ignores_are_written_into_cells(cli: Cli) -> None:
    path = cli.write("nb.ipynb", NOTEBOOK)
    cli.write("c.ipynb", written("x = ("))
    result = cli("check", "--add-ignores", "as in the paper", "--output-format", "concise")
    assert result.out.startswith("c.ipynb:cell 1:1:5: BN001 ")
    assert "suppressed 1 finding in 1 file" in result.err
    assert sources(path.read_bytes())[2] == f"{BAD}  # é  # bnlint: ignore[BN101] as in the paper"
    assert cli("check", "nb.ipynb").code == 0


def test_a_baseline_outlives_a_new_cell(cli: Cli) -> None:
    cli.write("nb.ipynb", NOTEBOOK)
    assert cli("check", "--baseline", "b.json", "--write-baseline").code == 0
    cli.write("nb.ipynb", written("x = 1", f"y = 2\n{BAD}"))
    assert cli("check", "--baseline", "b.json").code == 0
    cli.write("nb.ipynb", written("x = 1", BAD, BAD.replace("f(", "g(")))
    assert cli("check", "--baseline", "b.json").code == 1


@pytest.mark.parametrize("cell", [1, 2])
def test_the_cache_keeps_what_is_found_in_cells(cli: Cli, monkeypatch: pytest.MonkeyPatch, cell: int) -> None:
    """A second run needs no check; a helper that only one of two definitions needs makes a third one check again."""
    helper = cli.write("helper.py", "def center(x):\n    return x.mean()\n")
    uses = "from helper import center\ndef f(x):\n    return x - center(x)"
    cli.write("nb.ipynb", written(*([uses, BAD] if cell == 2 else [BAD, uses])))
    os.utime(helper, (1_000_000_000, 1_000_000_000))
    first = cli("check", "nb.ipynb", "--output-format", "json")
    with monkeypatch.context() as patch:
        patch.setattr(static, "inspect_source", None)
        assert cli("check", "nb.ipynb", "--output-format", "json").out == first.out
    assert [(each["cell"], each["path"]) for each in json.loads(first.out)] == [(cell, "nb.ipynb")]
    helper.write_text("def center(x):\n    return x.mean().detach()\n")
    os.utime(helper, (1_000_000_001, 1_000_000_001))
    third = json.loads(cli("check", "nb.ipynb", "--output-format", "json").out)
    assert {(each["cell"], each["path"]) for each in third} == {(cell, "nb.ipynb"), (None, "helper.py")}


@pytest.mark.parametrize("kind", ["sarif", "github", "gitlab"])
def test_formats_for_lines_of_files_name_those_of_the_file(cli: Cli, kind: str) -> None:
    cli.write("nb.ipynb", NOTEBOOK)
    out = cli("check", "nb.ipynb", "--output-format", kind).out
    line = NOTEBOOK[: NOTEBOOK.rindex(b".detach()")].count(b"\n") + 1
    assert str(line) in out


def test_the_fix_in_sarif_is_the_change_of_the_file(cli: Cli) -> None:
    cli.write("nb.ipynb", NOTEBOOK)
    log = json.loads(cli("check", "nb.ipynb", "--output-format", "sarif").out)
    (change,) = log["runs"][0]["results"][0]["fixes"][0]["artifactChanges"]
    edits = []
    for each in change["replacements"]:
        where = each["deletedRegion"]
        place = (where[key] for key in ("startLine", "startColumn", "endLine", "endColumn"))
        edits.append(Edit(SourceLocation("nb.ipynb", *place), each["insertedContent"]["text"]))
    assert apply(SourceText.of(NOTEBOOK.decode()), edits).encode() == AFTER


def test_a_file_that_is_no_notebook_is_one_finding_and_the_others_go_on(cli: Cli) -> None:
    cli.write("a.ipynb", '{"cells": [')
    cli.write("b.ipynb", NOTEBOOK)
    result = cli("check", "--output-format", "concise")
    assert result.code == 1
    assert [line.split()[0:3:2] for line in result.out.splitlines()] == [
        ["a.ipynb:1:12:", "not"],
        ["b.ipynb:cell", "BN101"],
    ]
    assert cli("fix").code == 1
    assert cli.read("a.ipynb") == '{"cells": ['


def test_the_hooks_of_pre_commit_take_notebooks() -> None:
    hooks = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    assert hooks.count("types_or: [python, pyi, jupyter]") == hooks.count("- id: ") == 2
