"""`--baseline` and `--write-baseline`: what stays known, what is new, what is gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import BAD, FIXED, UNFIXABLE, Cli

OPTION = ("--baseline", "known.json")


@pytest.fixture
def known(cli: Cli) -> Cli:
    """A folder whose findings are all known."""
    cli.write("src/a.py", BAD)
    cli.write("src/b.py", UNFIXABLE)
    assert cli("check", *OPTION, "--write-baseline").code == 0
    return cli


def test_what_is_known_is_not_reported(known: Cli) -> None:
    result = known("check", *OPTION)
    assert (result.code, result.out) == (0, "")
    assert known("check").code == 1


def test_the_file_holds_no_line_numbers(known: Cli) -> None:
    document = json.loads(known.read("known.json"))
    assert document["findings"] == [
        {"path": "src/a.py", "code": "BN101", "symbol": "f", "module": "", "text": "x.mean()->.detach()", "count": 1},
        {"path": "src/b.py", "code": "BN104", "symbol": "norm", "module": "", "text": "x.mean()->.item()", "count": 1},
    ]


def test_lines_and_spaces_may_move(known: Cli) -> None:
    known.write("src/a.py", "# new\n\n\n" + BAD)
    known.write("src/b.py", UNFIXABLE.replace("x.mean().item()", "(x\n  .mean( )\n  .item())").replace("def", "\ndef"))
    assert known.lines(*OPTION) == []


@pytest.mark.parametrize(
    "content",
    [
        BAD + "\n\n" + BAD.replace("f(x)", "g(x)"),
        BAD.replace("f(x)", "g(x)"),
        BAD.replace(".detach()", ".detach().clone()").replace("return", "y = x - x.mean().detach()\n    return y,"),
        BAD.replace("x - x.mean()", "x / x.std()"),
    ],
    ids=["another function", "another name", "once more in the function", "another statistic"],
)
def test_what_is_new_is_reported(known: Cli, content: str) -> None:
    known.write("src/a.py", content)
    assert len(known.lines(*OPTION)) == 1


def test_a_finding_in_another_file_is_new(known: Cli) -> None:
    known.write("src/c.py", BAD)
    assert known.lines(*OPTION) == ["src/c.py:2:24: BN101"]


def test_a_baseline_serves_from_any_folder(known: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(known.folder / "src")
    assert known.lines("--baseline", "../known.json") == []
    monkeypatch.chdir(known.folder.parent)
    assert known.lines("--baseline", str(known.folder / "known.json"), str(known.folder)) == []


def test_what_is_gone_is_said_and_can_be_taken_out(known: Cli) -> None:
    known.write("src/a.py", FIXED)
    result = known("check", *OPTION)
    assert result.code == 0
    assert "known.json: 1 entry no longer matches: BN101 in src/a.py" in result.err
    assert "no longer" not in known("check", *OPTION, "-q").err
    known("check", *OPTION, "--write-baseline")
    assert "no longer" not in known("check", *OPTION).err
    assert len(json.loads(known.read("known.json"))["findings"]) == 1


def test_of_files_and_rules_that_were_not_looked_at_nothing_is_said(known: Cli) -> None:
    known.write("src/a.py", FIXED)
    assert "no longer" not in known("check", *OPTION, "src/b.py").err
    assert "no longer" not in known("check", *OPTION, "--select", "BN104").err
    (known.folder / "src" / "a.py").unlink()
    assert "no longer" in known("check", *OPTION, "src/b.py").err


def test_by_configuration_relative_to_its_file(known: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    known.write("bnlint.toml", 'baseline = "known.json"\n')
    monkeypatch.chdir(known.folder / "src")
    assert known.lines() == []
    assert known("fix", "b.py").code == 0


def test_fix_still_puts_right_what_is_known(known: Cli) -> None:
    assert known("fix", *OPTION).code == 0
    assert known.read("src/a.py") == FIXED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "null",
        '{"version": 1}',
        '{"version": 1, "findings": [{}]}',
        '{"version": 1, "findings": [1]}',
        '{"version": 1, "findings": [{"path": 1, "code": "", "symbol": "", "module": "", "text": "", "count": 1}]}',
        '{"version": 1, "findings": [{"path": "", "code": "", "symbol": "", "module": "", "text": "", "count": "x"}]}',
        '{"version": 2, "findings": []}',
        b"\xff\xfe",
    ],
)
def test_what_is_no_baseline_exits_2(cli: Cli, content: str | bytes) -> None:
    cli.write("known.json", content)
    cli.write("a.py", BAD)
    result = cli("check", *OPTION)
    assert (result.code, result.out) == (2, "")
    assert "known.json" in result.err.splitlines()[0]


def test_an_empty_baseline_is_one(cli: Cli) -> None:
    cli.write("a.py", FIXED)
    assert cli("check", *OPTION, "--write-baseline").code == 0
    assert json.loads(cli.read("known.json")) == {"version": 1, "findings": []}
    assert cli("check", *OPTION).code == 0
    assert not list(Path().glob(".bnlint-*"))
