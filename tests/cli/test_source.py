"""`bnlint check`, `fix`, `rule` and `version` on source: exit codes, streams, and bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from terminal import BAD, FIXED, UNFIXABLE, Cli, Result

from bnlint import __version__
from bnlint.pages import load_pages

ROOT = Path(__file__).parents[2]


def test_findings_exit_1(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("check", "bad.py")
    assert result.code == 1
    assert "BN101" in result.out
    assert "bad.py:2:24" in result.out
    assert "1 finding" in result.err


def test_no_argument_is_the_current_folder(cli: Cli) -> None:
    cli.write("deep/er/bad.py", BAD)
    result = cli("check", "--output-format", "concise")
    assert result.code == 1
    assert result.out.startswith(f"{Path('deep/er/bad.py')}:2:24: BN101 ")


@pytest.mark.parametrize("content", ["", "\n", "x = 1\n", FIXED])
def test_clean_exits_0(cli: Cli, content: str) -> None:
    cli.write("a.py", content)
    result = cli("check", "a.py")
    assert (result.code, result.out) == (0, "")


def test_a_folder_without_python_exits_0_and_says_so(cli: Cli) -> None:
    cli.write("data/readme.txt", "hello")
    result = cli("check", "data")
    assert (result.code, result.out) == (0, "")
    assert "no Python files" in result.err


@pytest.mark.parametrize(
    "content",
    [
        "def f(:\n",
        "print 'mean'\n",
        b"x = 1\0\nmean, detach = 1, 2\n",
        b"# \xff mean detach\n",
        b"# coding: nonsense\nmean, detach = 1, 2\n",
        "x = " + "(" * 3000 + ")" * 3000 + "  # mean detach\n",
        "def f(x): return x.mean().detach()" + ".y" * 5000 + "\n",
        "if x:\n\ty = 1\n        z = x.mean().detach()\n",
        "<<<<<<< HEAD\nx.mean().detach()\n=======\n",
    ],
    ids=["syntax", "python 2", "null byte", "undecodable", "unknown encoding", "deep", "chain", "tabs", "conflict"],
)
@pytest.mark.parametrize("output_format", ["full", "concise", "json"])
def test_a_file_that_does_not_parse_is_one_finding(cli: Cli, content: str | bytes, output_format: str) -> None:
    cli.write("broken.py", content)
    cli.write("other.py", BAD)
    result = cli("check", "broken.py", "other.py", "--output-format", output_format)
    assert result.code == 1
    assert result.out.count("BN001") - ("bnlint rule BN001" in result.out) == 1
    assert "BN101" in result.out


def test_fix_leaves_a_file_that_does_not_parse(cli: Cli) -> None:
    cli.write("broken.py", "def f(:\n")
    result = cli("fix", "broken.py")
    assert result.code == 1
    assert "BN001" in result.out
    assert (cli.folder / "broken.py").read_text() == "def f(:\n"


@pytest.mark.parametrize("command", ["check", "fix"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.py"], "missing.py"),
        (["missing/"], "missing"),
        (["notes.txt"], "notes.txt"),
        (["bad.py", "missing.py"], "missing.py"),
        (["bad.py", "--nope"], "--nope"),
        (["bad.py", "--select", "BN999"], "BN999"),
        (["bad.py", "--ignore", "E501"], "E501"),
        (["bad.py", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_what_cannot_be_done_exits_2_in_one_line(cli: Cli, command: str, arguments: list[str], said: str) -> None:
    cli.write("bad.py", BAD)
    cli.write("notes.txt", "hello")
    result = cli(command, *arguments)
    assert (result.code, result.out) == (2, "")
    first, *hints = result.err.splitlines()
    assert said in first
    assert len(hints) <= 1
    assert (cli.folder / "bad.py").read_text() == BAD


@pytest.mark.parametrize("arguments", [["nonsense"], ["check", "--output-format", "xml", "."], ["rule", "BN999"]])
def test_usage_errors_exit_2(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err


def test_nothing_is_written_when_one_of_the_paths_is_missing(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    assert cli("fix", "bad.py", "missing.py").code == 2
    assert (cli.folder / "bad.py").read_text() == BAD


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        ([], {"BN101", "BN104"}),
        (["--select", "BN101"], {"BN101"}),
        (["--select", "BN104,BN101"], {"BN101", "BN104"}),
        (["--select", "BN1"], {"BN101", "BN104"}),
        (["--select", "ALL"], {"BN101", "BN104"}),
        (["--select", "BN102"], set()),
        (["--ignore", "BN101"], {"BN104"}),
        (["--ignore", "BN1"], set()),
        (["--ignore", "BN101", "--ignore", "BN104"], set()),
        (["--select", "BN1", "--ignore", "BN104"], {"BN101"}),
        (["--exclude", "b*.py"], {"BN104"}),
    ],
)
def test_select_and_ignore(cli: Cli, arguments: list[str], codes: set[str]) -> None:
    cli.write("bad.py", BAD)
    cli.write("item.py", UNFIXABLE)
    result = cli("check", ".", "--output-format", "json", *arguments)
    assert {each["code"] for each in json.loads(result.out)} == codes
    assert result.code == (1 if codes else 0)


def test_json_is_the_only_thing_on_stdout(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("check", ".", "--output-format", "json")
    (found,) = json.loads(result.out)
    assert (found["path"], found["line"], found["column"], found["end_line"]) == ("bad.py", 2, 24, 2)
    assert (found["symbol"], found["statistic"], found["stop"]) == ("f", "mean", "detach")
    assert found["fix"]


def test_json_of_nothing_is_an_empty_list(cli: Cli) -> None:
    assert json.loads(cli("check", ".", "--output-format", "json").out) == []


def test_the_environment_chooses_the_format(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("bad.py", BAD)
    monkeypatch.setenv("BNLINT_OUTPUT_FORMAT", "json")
    assert len(json.loads(cli("check").out)) == 1


def test_exit_zero(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("check", "--exit-zero")
    assert result.code == 0
    assert "BN101" in result.out


def test_quiet_says_nothing_but_findings(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("check", "-q")
    assert result.err == ""
    assert "BN101" in result.out


def test_a_file_named_twice_is_read_once(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    assert len(cli("check", "bad.py", ".", "./bad.py", "--output-format", "concise").out.splitlines()) == 1


def test_suppressed(cli: Cli) -> None:
    cli.write("bad.py", BAD.replace("detach()", "detach()  # bnlint: ignore[BN101] on purpose"))
    assert cli("check").code == 0
    assert cli("fix").code == 0
    assert "detach" in (cli.folder / "bad.py").read_text()


def test_fix_exits_0_when_everything_is_fixed(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("fix", "bad.py")
    assert (result.code, result.out) == (0, "")
    assert "fixed 1 finding in 1 file" in result.err
    assert (cli.folder / "bad.py").read_text() == FIXED
    assert cli("check").code == 0
    assert cli("fix").code == 0


def test_fix_exits_1_when_something_is_left(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    cli.write("item.py", UNFIXABLE)
    result = cli("fix")
    assert result.code == 1
    assert "BN104" in result.out
    assert "1 left" in result.err
    assert (cli.folder / "bad.py").read_text() == FIXED
    assert (cli.folder / "item.py").read_text() == UNFIXABLE


def test_fix_fixes_only_what_is_selected(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    assert cli("fix", "--select", "BN102").code == 0
    assert (cli.folder / "bad.py").read_text() == BAD


def test_diff_writes_nothing(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    result = cli("fix", "--diff")
    assert result.code == 1
    assert result.out.splitlines()[2:] == [
        "@@ -1,2 +1,2 @@",
        " def f(x):",
        "-    return x - x.mean().detach()",
        "+    return x - x.mean()",
    ]
    assert (cli.folder / "bad.py").read_text() == BAD
    assert [p.name for p in cli.folder.iterdir()] == ["bad.py"]


def test_diff_of_nothing_exits_0(cli: Cli) -> None:
    cli.write("good.py", FIXED)
    result = cli("fix", "--diff")
    assert (result.code, result.out) == (0, "")


def test_the_list_of_commands_is_whole_on_a_narrow_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in cli("-h").out.split("Commands:")[1]


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["check", "-h"], ["fix", "--help"], ["rule", "-h"]])
def test_help(cli: Cli, arguments: list[str]) -> None:
    result = cli(*arguments)
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("Usage: bnlint")


@pytest.mark.parametrize(("command", "option"), [("check", "--select"), ("fix", "--nope"), ("rule", "--config")])
def test_wrong_usage_of_a_command_leads_to_its_help(cli: Cli, command: str, option: str) -> None:
    assert cli(command, option).err.splitlines()[-1] == f"  try: bnlint {command} --help"


def test_the_name_of_a_rule_leads_to_its_code(cli: Cli) -> None:
    assert cli("rule", "detached-statistic").err.splitlines()[-1] == "  try: bnlint rule BN101"


@pytest.mark.parametrize("arguments", [["version"], ["-V"], ["--version"]])
def test_version(cli: Cli, arguments: list[str]) -> None:
    assert cli(*arguments) == Result(0, f"bnlint {__version__}\n", "")


def test_rule_prints_a_page_or_the_list(cli: Cli) -> None:
    assert "BN101" in cli("rule", "bn101").out
    listed = [line.split()[0] for line in cli("rule").out.splitlines()]
    assert listed == sorted(listed)
    assert "BN101" in listed
    assert all(code in cli("rule", "--all").out for code in listed)


def test_the_list_of_rules_has_columns_and_one_sentence_each(cli: Cli) -> None:
    pages = load_pages().values()
    rows = cli("rule").out.splitlines()
    starts = {row.index("Reports ") for row in rows}
    assert len(rows) == len(pages) and len(starts) == 1
    for row, page in zip(rows, pages, strict=True):
        said = row[min(starts) :]
        assert said[:-1] == page.summary[: len(said) - 1] and said.endswith(".") and ". " not in said


def test_a_terminal_has_a_line_for_each_rule(cli: Cli) -> None:
    cli.monkeypatch.setenv("COLUMNS", "80")
    cli.monkeypatch.setenv("FORCE_COLOR", "1")
    rows = cli("rule").out.splitlines()
    assert len(rows) == len(load_pages())
    assert {len(row) for row in rows} == {80} and all(row.endswith("...") for row in rows)


def test_as_a_process(cli: Cli) -> None:
    cli.write("bad.py", BAD)
    for arguments, code in ((["check"], 1), (["fix"], 0), (["check"], 0), (["check", "missing"], 2)):
        result = subprocess.run(
            [sys.executable, "-m", "bnlint", *arguments],
            cwd=cli.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (result.returncode, "Traceback" in result.stderr) == (code, False)
