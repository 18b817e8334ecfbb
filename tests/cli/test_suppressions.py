"""Unused suppressions and `--add-ignores`, from the command line."""

from __future__ import annotations

import ast

import pytest
from terminal import BAD, FIXED, UNFIXABLE, UNUSED, Cli

from bnlint.errors import InputError
from bnlint.source import fixing

REGION = """\
import torch

def f(x, y):
    with torch.no_grad():
        mean = x.mean(
            0
        )
    return (x
        - mean - y.mean().item()), x - x.mean().detach()
"""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], ["a.py:1:25: BN002"]),
        (["--select", "BN1"], []),
        (["--select", "BN002"], []),
        (["--select", "BN002,BN101"], ["a.py:1:25: BN002"]),
        (["--ignore", "BN101"], []),
        (["--ignore", "BN102"], ["a.py:1:25: BN002"]),
    ],
)
def test_an_unused_suppression_counts_where_its_rule_is_selected(
    cli: Cli, options: list[str], expected: list[str]
) -> None:
    cli.write("a.py", UNUSED)
    assert cli.lines(*options) == expected


def test_fix_removes_it(cli: Cli) -> None:
    cli.write("a.py", UNUSED)
    assert cli("fix").code == 0
    assert cli.read("a.py") == "x = 1\n"


def test_a_suppression_that_a_fix_would_make_unused_keeps_its_stop(cli: Cli) -> None:
    text = BAD.replace("detach()", "detach()  # bnlint: ignore[BN101] meant")
    cli.write("a.py", text)
    assert cli("fix").code == 0
    assert cli.read("a.py") == text


@pytest.mark.parametrize(
    "content",
    [
        BAD,
        UNFIXABLE,
        REGION,
        REGION.replace("\n", "\r\n"),
        "\ufeff" + BAD,
        BAD.rstrip(),
        BAD.replace("detach()", "detach()  # a remark"),
        BAD.replace("detach()", "detach()  # bnlint: ignore[BN999] old"),
        BAD.replace("x - x.mean()", 'x + len("""\n""") - x.mean()'),
        BAD.replace("x - x.mean()", "x \\\n - x.mean()"),
    ],
)
def test_add_ignores_silences_and_changes_comments_only(cli: Cli, content: str) -> None:
    cli.write("a.py", content)
    before = cli.lines("--ignore", "BN002")
    assert before
    result = cli("check", "--ignore", "BN002", "--add-ignores", "frozen – on purpose")
    assert result.code == 0
    assert f"suppressed {len(before)} finding" in result.err
    after = cli.read("a.py")
    assert cli.lines("--ignore", "BN002") == []
    assert ast.dump(ast.parse(after.lstrip("\ufeff"))) == ast.dump(ast.parse(content.lstrip("\ufeff")))
    assert cli.lines() == [line for line in cli.lines() if "BN002" in line and "BN999" in content]
    assert after.count("\n") == content.count("\n") and after.count("\r") == content.count("\r")


def test_what_add_ignores_writes(cli: Cli) -> None:
    cli.write("a.py", BAD)
    cli("check", "--add-ignores", "frozen")
    assert cli.read("a.py") == BAD.replace("detach()", "detach()  # bnlint: ignore[BN101] frozen")
    cli.write("a.py", BAD.replace("detach()", "detach()  # bnlint: ignore[BN104] old"))
    cli("check", "--add-ignores", "frozen")
    assert cli.read("a.py") == BAD.replace("detach()", "detach()  # bnlint: ignore[BN104, BN101] old")


def test_add_ignores_stands_right_behind_the_code(cli: Cli) -> None:
    cli.write("a.py", BAD.replace("detach()", "detach()   "))
    cli("check", "--add-ignores", "frozen")
    assert "detach()  # bnlint: ignore[BN101] frozen" in cli.read("a.py")


def test_add_ignores_only_for_what_is_selected(cli: Cli) -> None:
    cli.write("a.py", BAD)
    cli.write("b.py", UNFIXABLE)
    cli("check", "--select", "BN104", "--add-ignores", "why")
    assert cli.read("a.py") == BAD
    assert "ignore[BN104] why" in cli.read("b.py")


def test_what_no_comment_can_suppress_is_left(cli: Cli) -> None:
    cli.write("a.py", "def f(:\n")
    cli.write("b.py", UNUSED)
    cli.write("c.py", BAD)
    assert cli("check", "--add-ignores", "why").code == 1
    assert cli.lines() == ["a.py:1:7: BN001", "b.py:1:25: BN002"]
    assert (cli.read("a.py"), cli.read("b.py")) == ("def f(:\n", UNUSED)


def test_a_reason_that_the_encoding_lacks_exits_2_and_writes_nothing(cli: Cli) -> None:
    content = b"# coding: latin-1\n" + BAD.encode()
    cli.write("a.py", content)
    result = cli("check", "--add-ignores", "平均")
    assert (result.code, (cli.folder / "a.py").read_bytes()) == (2, content)
    assert "a.py" in result.err and len(result.err.splitlines()) == 1


def test_add_ignores_where_there_is_nothing(cli: Cli) -> None:
    cli.write("a.py", FIXED)
    assert cli("check", "--add-ignores", "why").code == 0
    assert cli.read("a.py") == FIXED


def test_add_ignores_writes_into_the_file_of_the_stop(cli: Cli) -> None:
    helper = "import torch\n\n\ndef center(x):\n    with torch.no_grad():\n        return x.mean()\n"
    use = "from pkg.helper import center\n\n\ndef f(x):\n    return x - center(x)\n"
    cli.write("pkg/__init__.py", "")
    cli.write("pkg/helper.py", helper)
    cli.write("pkg/use.py", use)
    assert cli.lines() == ["pkg/helper.py:6:16: BN102"]
    assert cli("check", "--add-ignores", "meant").code == 0
    assert cli.read("pkg/use.py") == use
    assert cli.read("pkg/helper.py") == helper.replace("mean()", "mean()  # bnlint: ignore[BN102] meant")
    assert cli.lines() == cli.lines("pkg/helper.py") == cli.lines("pkg/use.py") == []


def test_files_that_cannot_be_written_are_not_counted(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.py", "b.py"):
        cli.write(name, BAD)

    def full(*_: object) -> None:
        raise InputError("cannot be written: No space left on device", where="a.py")

    replace = fixing._replace
    monkeypatch.setattr(fixing, "_replace", lambda file: full() if file.path.name == "a.py" else replace(file))
    result = cli("check", "--add-ignores", "why")
    assert result.code == 2
    assert "suppressed 1 finding in 1 file\n" in result.err and "error: a.py: cannot be written" in result.err
    assert "--> a.py:2:24" in result.out and "1 finding (2 Python files)" in result.err
