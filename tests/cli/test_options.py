"""The options of `check` and `fix` on source, each by use, and what a wrong value says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from terminal import BAD, FIXED, UNFIXABLE, UNUSED, Cli

from bnlint.errors import InputError
from bnlint.finding import Edit, Finding, Fix, Severity, SourceLocation
from bnlint.report import FORMATS
from bnlint.source import check as static
from bnlint.source import files, flowed
from bnlint.source.lower import Lowered
from bnlint.source.text import SourceText


@pytest.mark.parametrize(
    ("content", "fail_on", "code"),
    [
        (UNUSED, None, 1),
        (UNUSED, "error", 0),
        (UNUSED, "warning", 1),
        (UNUSED, "note", 1),
        (BAD, "error", 1),
        (FIXED, "note", 0),
    ],
)
def test_fail_on(cli: Cli, content: str, fail_on: str | None, code: int) -> None:
    cli.write("a.py", content)
    options = ["--fail-on", fail_on] if fail_on else []
    assert cli("check", *options).code == code
    assert cli("fix", "--diff", "--select", "BN104", *options).code == 0


def test_what_does_not_fail_the_run_is_shown_and_said(cli: Cli) -> None:
    cli.write("a.py", UNUSED)
    result = cli("check", "--fail-on", "error")
    assert "warning[BN002]" in result.out
    assert "1 warning does not fail the run" in result.err
    assert "does not fail" not in cli("check").err


def test_notes_do_not_fail_a_run(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    note = Finding("BN101", "n", Severity.NOTE, "worth knowing", SourceLocation("a.py", 1, 1, 1, 2))
    monkeypatch.setattr(static, "followed", lambda *_: static.Checked((note, other)))
    other = replace(note, code="BN102")
    cli.write("a.py", "x = 1\n")
    result = cli("check")
    assert (result.code, "note[BN101]" in result.out) == (0, True)
    assert "2 notes do not fail the run" in result.err
    assert cli("check", "--fail-on", "note").code == 1
    assert cli("fix").code == 0


@pytest.fixture
def unsafe(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A file in which `a` has an unsafe fix, to `b`."""

    def found(text: SourceText, *_: object) -> static.Checked:
        at = SourceLocation("a.py", 1, 1, 1, 2)
        fix = Fix("say b", False, (Edit(at, "b"),))
        finding = Finding("BN101", "n", Severity.ERROR, "an a", at, fix=fix)
        return static.Checked((finding,) if text.text.startswith("a") else ())

    monkeypatch.setattr(static, "followed", found)
    cli.write("a.py", "a = 1\n")
    return cli


def test_unsafe_fixes_are_left_and_hinted_at(unsafe: Cli) -> None:
    result = unsafe("fix")
    assert (result.code, unsafe.read("a.py")) == (1, "a = 1\n")
    assert "1 left, 1 fixable with `--unsafe-fixes`" in result.err
    assert "1 fixable with `bnlint fix --unsafe-fixes`" in unsafe("check").err


@pytest.mark.parametrize("command", [("fix",), ("check", "--fix")])
def test_unsafe_fixes_are_made_when_allowed(unsafe: Cli, command: tuple[str, ...]) -> None:
    assert unsafe(*command, "--unsafe-fixes").code == 0
    assert unsafe.read("a.py") == "b = 1\n"


def test_unsafe_fixes_by_configuration(unsafe: Cli) -> None:
    unsafe.write("bnlint.toml", "unsafe-fixes = true\n")
    assert unsafe("fix").code == 0
    assert unsafe.read("a.py") == "b = 1\n"


def test_paths_of_edits_are_told_like_those_of_findings(cli: Cli) -> None:
    path = cli.write("a.py", BAD)
    (found,) = json.loads(cli("check", "--output-format", "json", str(path)).out)
    assert (found["path"], [edit["path"] for edit in found["fix"]["edits"]]) == ("a.py", ["a.py"])


def test_check_fix_is_fix_and_then_check(cli: Cli) -> None:
    cli.write("a.py", BAD)
    cli.write("b.py", UNFIXABLE)
    result = cli("check", "--fix", "--output-format", "json")
    assert [each["code"] for each in json.loads(result.out)] == ["BN104"]
    assert (result.code, cli.read("a.py")) == (1, FIXED)
    assert "fixed 1 finding in 1 file" in result.err


#: text around a stop that is odd to split into lines
ODD = {
    "form feeds": "def f(x):\n\x0c\n    s = '\x1c\x85\u2028'\n    return x - x.mean().detach()\n",
    "Windows": BAD.replace("\n", "\r\n"),
    "no newline at the end": BAD.rstrip("\n"),
    "old Macintosh": BAD.replace("\n", "\r"),
}


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch")
@pytest.mark.parametrize("text", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("name", ["a.py", "a folder/b c.py"])
def test_patch_makes_of_the_diff_what_fix_does(cli: Cli, name: str, text: str) -> None:
    path = cli.write(name, text)
    diff = cli("fix", "--diff", ".").out
    assert cli("fix", ".").code == 0
    fixed = path.read_bytes()
    assert fixed != text.encode()
    cli.write(name, text)
    subprocess.run(["patch", "-p0", "--binary", "-s"], input=diff.encode(), cwd=cli.folder, check=True)
    assert path.read_bytes() == fixed


#: the variance that normalizes also goes into a buffer: the fix of BN301 brings a note to light, BN205
FEEDS_A_BUFFER = """import torch
from torch import nn


class BatchNorm(nn.BatchNorm1d):
    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean = x.mean(0)
            var = x.var(0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var, self.momentum)
        return (x - mean) / (torch.sqrt(var) + self.eps)
"""


def test_what_a_fix_brings_to_light_takes_nothing_off_what_it_fixed(cli: Cli) -> None:
    cli.write("a.py", FEEDS_A_BUFFER)
    assert cli.lines() == ["a.py:10:19: BN301", "a.py:14:30: BN302"]
    assert cli("fix", "--unsafe-fixes").err.startswith("fixed 2 findings in 1 file; 1 left")
    assert [line.split()[1] for line in cli.lines()] == ["BN205"]


def test_statistics_count_what_is_found(cli: Cli) -> None:
    cli.write("a.py", BAD + "\n" + BAD.replace("f(x)", "g(x)"))
    cli.write("b.py", UNFIXABLE)
    result = cli("check", "--statistics")
    assert [line.split() for line in result.out.splitlines()] == [
        ["2", "BN101", "detached-statistic", "error", "2", "fixable"],
        ["1", "BN104", "statistic-leaves-autograd", "error", "0", "fixable"],
    ]
    assert result.code == 1
    rows = json.loads(cli("check", "--statistics", "--output-format", "json").out)
    assert [(row["code"], row["count"], row["fixable"]) for row in rows] == [("BN101", 2, 2), ("BN104", 1, 0)]


def test_show_files(cli: Cli) -> None:
    for name in ("src/a.py", "src/b.pyi", "build/c.py", "skip.py", "d.txt"):
        cli.write(name, "def f(:")
    result = cli("check", "--show-files", "--exclude", "skip.py")
    assert (result.code, result.out.split()) == (0, [str(Path("src/a.py")), str(Path("src/b.pyi"))])


@pytest.mark.parametrize("option", ["--exclude", "--extend-exclude"])
def test_patterns_may_be_a_list_with_commas(cli: Cli, option: str) -> None:
    for name in ("src/a.py", "lib/b.py", "c.py", "d.py"):
        cli.write(name, "")
    assert cli("check", "--show-files", option, "src/, c.py", option, "lib").out == "d.py\n"


def test_verbose_names_configuration_and_files(cli: Cli) -> None:
    cli.write("bnlint.toml", "")
    cli.write("sub/pyproject.toml", "[tool.bnlint]\n")
    cli.write("sub/a.py", FIXED)
    result = cli("check", "-v")
    assert result.out == ""
    for line in (f"configuration: {cli.folder / 'bnlint.toml'}", "checked: sub/a.py"):
        assert line in result.err.splitlines()
    assert f"configuration: {cli.folder / 'sub' / 'pyproject.toml'}" in result.err
    assert "configuration: none" in cli("check", "-v", "--isolated").err


def test_verbose_counts_the_functions_that_were_not_followed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*_: object) -> list[Lowered]:
        return [Lowered("f", None)]

    monkeypatch.setattr(flowed, "lower", lost)
    cli.write("a.py", BAD)
    result = cli("check", "-v")
    assert (result.code, result.out) == (0, "")
    assert "not followed: f in a.py" in result.err
    assert "1 function not followed to the end: nothing is said about them" in result.err
    assert "not followed" not in cli("check").err


def test_a_file_that_cannot_be_read_exits_2_and_the_others_are_checked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = files.read

    def refuse(path: Path) -> bytes:
        if path.name == "locked.py":
            raise InputError("cannot be read: Permission denied", where=str(path))
        return read(path)

    monkeypatch.setattr(files, "read", refuse)
    cli.write("a.py", BAD)
    cli.write("locked.py", BAD)
    result = cli("check", "--exit-zero")
    assert result.code == 2
    assert "a.py:2:24" in result.out
    assert "error: locked.py: cannot be read: Permission denied" in result.err


def test_a_folder_that_cannot_be_read_exits_2_and_the_others_are_checked(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = os.scandir

    def refuse(path: Path) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    cli.write("a.py", BAD)
    cli.write("locked/b.py", BAD)
    result = cli("check")
    assert (result.code, "a.py:2:24" in result.out, "b.py" in result.out) == (2, True, False)
    assert "locked: cannot be read: Permission denied" in result.err
    assert cli("check", "locked").code == 2


@pytest.mark.parametrize(
    ("option", "environment", "colored"),
    [
        ([], {}, False),
        ([], {"FORCE_COLOR": "1"}, True),
        (["--color", "always"], {}, True),
        (["--color", "always"], {"NO_COLOR": "1"}, True),
        (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        (["--color", "auto"], {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_color(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, option: list[str], environment: dict[str, str], colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.delenv("COLUMNS", raising=False)  # tests that run beside each other have it
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    cli.write("a.py", BAD)
    out = cli("check", *option).out
    assert ("\x1b[1;31m" in out or "\x1b[31m" in out) is colored
    assert ("\x1b" in out) is colored  # bold is for those who want colors
    assert "detached: no gradient flows through it" in out.splitlines()[0]  # in a log, no line is broken


@pytest.mark.parametrize(
    "output_format", ["full", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit"]
)
def test_output_file_holds_what_stdout_would(cli: Cli, output_format: str) -> None:
    cli.write("a.py", BAD)
    printed = cli("check", "--output-format", output_format)
    written = cli("check", "--output-format", output_format, "-o", "found.txt")
    assert (written.code, written.out, written.err) == (1, "", printed.err)
    assert cli.read("found.txt") == printed.out != ""


def test_output_file_of_nothing_replaces_the_old_one(cli: Cli) -> None:
    cli.write("a.py", FIXED)
    cli.write("found.txt", "old")
    assert cli("check", "-o", "found.txt").code == 0
    assert cli.read("found.txt") == ""


def test_output_into_a_device_goes_through_it(cli: Cli) -> None:
    cli.write("a.py", BAD)
    here, there = os.openpty()  # nothing can be created beside it, so that a mistake does no harm
    try:
        assert cli("check", "--output-format", "concise", "-o", os.ttyname(there)).code == 1
        assert b"a.py:2:24: BN101" in os.read(here, 1000)
    finally:
        os.close(here)
        os.close(there)


class TestStdin:
    def test_check_reports_under_the_name(self, cli: Cli) -> None:
        result = cli("check", "--stdin-filename", "src/a.py", "-", stdin=BAD.encode())
        assert result.code == 1
        assert "--> src/a.py:2:24" in result.out
        assert "2 |     return x - x.mean().detach()" in result.out
        assert cli.lines("-", stdin=BAD.encode()) == ["-:2:24: BN101"]

    def test_fix_prints_the_result_and_nothing_else(self, cli: Cli) -> None:
        windows = BAD.replace("\n", "\r\n").encode()
        result = cli("fix", "--stdin-filename", "a.py", "-", stdin=windows)
        assert (result.code, result.out) == (0, FIXED.replace("\n", "\r\n"))
        assert "fixed 1 finding" in result.err
        assert list(cli.folder.iterdir()) == []

    def test_fix_prints_the_source_even_where_something_is_left(self, cli: Cli) -> None:
        result = cli("fix", "-", stdin=UNFIXABLE.encode())
        assert (result.code, result.out) == (1, UNFIXABLE)
        assert "BN104" in result.err

    def test_diff(self, cli: Cli) -> None:
        result = cli("fix", "--diff", "-", stdin=BAD.encode())
        assert result.code == 1
        assert result.out.startswith("--- -\n+++ -\n@@ ")
        assert "+    return x - x.mean()\n" in result.out

    def test_configuration_is_that_of_the_name(self, cli: Cli) -> None:
        cli.write("sub/bnlint.toml", 'ignore = ["BN101"]\n')
        assert cli.lines("--stdin-filename", "sub/a.py", "-", stdin=BAD.encode()) == []
        assert cli.lines("--stdin-filename", "a.py", "-", stdin=BAD.encode()) != []

    def test_an_excluded_name_is_passed_through(self, cli: Cli) -> None:
        cli.write("bnlint.toml", 'exclude = ["gen.py"]\nforce-exclude = true\n')
        for output_format in FORMATS:
            result = cli(
                "check", "--output-format", output_format, "--stdin-filename", "gen.py", "-", stdin=BAD.encode()
            )
            assert (result.code, result.err) == (0, "no findings (no Python files)\n")
        diff = cli("fix", "--diff", "--stdin-filename", "gen.py", "-", stdin=BAD.encode())
        assert (diff.code, diff.out) == (0, "")
        assert cli("fix", "--stdin-filename", "gen.py", "-", stdin=BAD.encode()).out == BAD

    def test_a_file_of_that_name_is_not_read(self, cli: Cli) -> None:
        cli.write("a.py", "# another\n" * 5)
        result = cli("check", "--stdin-filename", "a.py", "-", stdin=BAD.encode())
        assert "2 |     return x - x.mean().detach()" in result.out

    def test_what_is_no_python_is_a_finding(self, cli: Cli) -> None:
        result = cli("fix", "-", stdin=b"def f(:\n")
        assert (result.code, result.out) == (1, "def f(:\n")
        assert cli.lines("-", stdin=b"\xff\xfe") == ["-:1:1: BN001"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check", "--fail-on", "fatal"], "fatal"),
        (["check", "--color", "mauve"], "mauve"),
        (["check", "--output-format", "xml"], "xml"),
        (["check", "--extend-select", "BN999"], "BN999"),
        (["check", "--statistics", "--output-format", "junit"], "junit"),
        (["check", "--write-baseline"], "baseline"),
        (["check", "--baseline", "missing.json"], "missing.json"),
        (["check", "--baseline", "a.py"], "not a baseline"),
        (["check", "--add-ignores", " "], "reason"),
        (["check", "--add-ignores", "two\nlines"], "reason"),
        (["check", "--add-ignores", "why", "--fix"], "--add-ignores"),
        (["check", "--stdin-filename", "a.py"], "--stdin-filename"),
        (["fix", "--stdin-filename", "a.py", "a.py"], "--stdin-filename"),
        (["check", "-", "a.py"], "stands alone"),
        (["check", "--fix", "-"], "stdin"),
        (["check", "--add-ignores", "why", "-"], "stdin"),
        (["check", "--fix", "mod:make"], "source"),
        (["check", "-o", "missing/found.txt"], "missing/found.txt"),
        (["check", "-o", "."], "."),
        (["config", "missing.py"], "missing.py"),
        (["config", "--config", "missing.toml"], "missing.toml"),
    ],
)
def test_a_wrong_value_exits_2_in_one_line(cli: Cli, arguments: list[str], said: str) -> None:
    cli.write("a.py", BAD)
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    first, *hints = result.err.splitlines()
    assert said in first
    assert len(hints) <= 1
    assert cli.read("a.py") == BAD


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["check", "--diff"], "try: bnlint fix --diff"),
        (["check", "--add-noqa"], 'try: bnlint check --add-ignores "REASON"'),
        (["check", "--show-settings"], "try: bnlint config"),
        (["fix", "--fix-only"], "try: bnlint fix"),
        (["check", "--select", "detached-statistic"], "hint: the code of this rule is `BN101`"),
        (["check", "--ignore", "Syntax-Error"], "hint: the code of this rule is `BN001`"),
    ],
)
def test_what_was_meant_is_said(cli: Cli, arguments: list[str], hint: str) -> None:
    assert cli(*arguments).err.splitlines()[1:] == [f"  {hint}"]


def test_the_name_of_a_rule_in_the_configuration_is_answered_with_its_code(cli: Cli) -> None:
    cli.write("bnlint.toml", 'per-file-ignores = { "tests/" = ["detached-statistic"] }\n')
    assert cli("check").err.endswith("  hint: the code of this rule is `BN101`\n")


def test_config_prints_toml_that_says_the_same(cli: Cli) -> None:
    text = 'select = ["BN1"]\nfail-on = "error"\nper-file-ignores = { "tests/**" = ["BN101"] }\n'
    cli.write("sub/bnlint.toml", text)
    result = cli("config", "sub")
    assert result.code == 0
    assert str(cli.folder / "sub" / "bnlint.toml") in result.out
    assert 'select = ["BN1"]\n' in result.out and "ignore = []  # default\n" in result.out
    said = tomllib.loads(result.out)
    assert said == said | tomllib.loads(text)
    cli.write("again/bnlint.toml", result.out)
    assert tomllib.loads(cli("config", "again").out) == said
    assert "the defaults" in cli("config", "sub", "--isolated").out


def test_config_shows_what_variables_set(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("bnlint.toml", 'output-format = "github"\ncache-dir = "kept"\n')
    assert 'output-format = "github"\n' in cli("config").out
    monkeypatch.setenv("BNLINT_OUTPUT_FORMAT", "json")
    monkeypatch.setenv("BNLINT_CACHE_DIR", "elsewhere")
    said = cli("config").out
    assert 'output-format = "json"  # --output-format or BNLINT_OUTPUT_FORMAT\n' in said
    assert 'cache-dir = "elsewhere"  # --cache-dir or BNLINT_CACHE_DIR\n' in said
