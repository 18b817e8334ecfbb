"""Names and rules that a project declares, from the command line: whatever works with a code works with theirs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from own import BAD, CONFIG, DOCS, FIXED, NAME, PAGE
from terminal import Cli

from bnlint.config import load

PLACE = "a.py:5:16:"


@pytest.fixture
def acme(cli: Cli) -> Cli:
    """A project with a rule of its own, and a file with a finding of it."""
    cli.write("bnlint.toml", CONFIG)
    cli.write(NAME, PAGE)
    cli.write("a.py", BAD)
    return cli


def test_a_finding_of_its_names_is_reported_by_it(acme: Cli) -> None:
    result = acme("check")
    assert result.code == 1
    assert "warning[ACME101] no-freeze: the mean that normalizes its own input is detached by `acme.ops.freeze()`" in (
        result.out
    )
    assert "run `bnlint rule ACME101`" in result.out
    assert acme("check", "--fail-on", "error").code == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--select", "ACME"], [f"{PLACE} ACME101"]),
        (["--select", "ACME101,BN2"], [f"{PLACE} ACME101"]),
        (["--select", "BN"], []),
        (["--select", "BN", "--extend-select", "ACME"], [f"{PLACE} ACME101"]),
        (["--ignore", "ACME101"], []),
        (["--ignore", "BN101"], [f"{PLACE} ACME101"]),
        (["--isolated"], []),
    ],
)
def test_selection(acme: Cli, options: list[str], expected: list[str]) -> None:
    assert acme.lines(*options) == expected


@pytest.mark.parametrize(
    "keys", ['ignore = ["ACME101"]', 'per-file-ignores = { "a.py" = ["ACME1"] }', 'select = ["BN"]']
)
def test_selection_in_the_configuration(acme: Cli, keys: str) -> None:
    acme.write("bnlint.toml", f"{CONFIG}{keys}\n")
    assert acme.lines() == []


@pytest.mark.parametrize("where", ["command line", "configuration"])
def test_an_unknown_code_names_the_nearest_of_both(acme: Cli, where: str) -> None:
    acme.write("bnlint.toml", CONFIG + 'select = ["ACME2"]\n' * (where == "configuration"))
    result = acme("check", *(["--select", "ACME2"] if where == "command line" else []))
    assert (result.code, result.out) == (2, "")
    assert "no rule has the code `ACME2`" in result.err and "the nearest is `ACME101`" in result.err


def test_a_folder_without_the_rule_does_not_mind_its_code(acme: Cli) -> None:
    acme.write("sub/bnlint.toml", "")
    acme.write("sub/a.py", BAD)
    assert acme.lines("--select", "ACME") == [f"{PLACE} ACME101"]


def test_the_nearest_configuration_declares(cli: Cli) -> None:
    for folder, name in (("", "other"), ("sub/", "freeze")):
        cli.write(f"{folder}bnlint.toml", f'stops = ["acme.ops.{name}"]\n')
        cli.write(f"{folder}a.py", BAD)
    assert cli.lines() == ["sub/a.py:5:16: BN101"]
    assert cli.lines("--config", "sub/bnlint.toml") == ["a.py:5:16: BN101", "sub/a.py:5:16: BN101"]
    assert cli.lines("-", "--stdin-filename", "sub/x.py", stdin=BAD.encode()) == ["sub/x.py:5:16: BN101"]
    assert cli.lines("-", stdin=BAD.encode()) == []


def test_fix_and_diff(acme: Cli) -> None:
    assert "+    return x - x.mean(0)" in acme("fix", "--diff").out
    assert acme("fix", "-", stdin=BAD.encode()).out == FIXED
    assert acme("fix").code == 0
    assert acme.read("a.py") == FIXED


def test_suppressions(acme: Cli) -> None:
    assert acme("check", "--add-ignores", "handbook says so").code == 0
    assert acme.read("a.py").endswith("x.mean(0))  # bnlint: ignore[ACME101] handbook says so\n")
    assert acme.lines() == []
    acme.write("a.py", acme.read("a.py").replace("still(x.mean(0))", "x.mean(0)"))
    assert acme.lines() == ["a.py:5:44: BN002"]
    assert acme.lines("--ignore", "ACME101") == []
    assert acme("fix").code == 0
    assert acme.read("a.py") == FIXED


def test_the_baseline(acme: Cli) -> None:
    assert acme("check", "--baseline", "known.json", "--write-baseline").code == 0
    assert '"ACME101"' in acme.read("known.json")
    assert acme("check", "--baseline", "known.json").code == 0
    acme.write("a.py", FIXED)
    assert "1 entry no longer matches: ACME101 in a.py" in acme("check", "--baseline", "known.json").err


def test_sarif_has_the_page(acme: Cli) -> None:
    log = json.loads(acme("check", "--output-format", "sarif").out)
    (run,) = log["runs"]
    (result,) = run["results"]
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert result["ruleId"] == rule["id"] == "ACME101"
    assert result["level"] == rule["defaultConfiguration"]["level"] == "warning"
    assert "See chapter 3 of the handbook." in rule["help"]["markdown"]


def test_two_pages_of_one_code_cannot_both_be_told(acme: Cli) -> None:
    acme.write("sub/bnlint.toml", CONFIG)
    acme.write(f"sub/{NAME}", PAGE.replace("chapter 3", "chapter 4"))
    acme.write("sub/a.py", BAD)
    assert "another page of ACME101" in acme("check", "--output-format", "sarif").err
    acme.write(f"sub/{NAME}", PAGE)
    assert acme("check", "--output-format", "sarif").code == 1


def test_rule_prints_the_page(acme: Cli) -> None:
    printed = acme("rule", "acme101").out
    assert printed.startswith("# ACME101 no-freeze\n\n*warning* · seen by the static check · since 2.0")
    assert "See chapter 3 of the handbook." in printed
    listed = acme("rule").out.splitlines()
    assert listed[-1].split()[:3] == ["ACME101", "no-freeze", "warning"]
    assert len({line.index(line.split()[1]) for line in listed}) == 1
    assert "ACME101 no-freeze" in acme("rule", "--all").out
    assert acme("rule", "ACME101", "--isolated").code == 2
    assert "the nearest is `ACME101`" in acme("rule", "ACME102").err


def test_a_broken_configuration_does_not_hide_the_pages_of_bnlint(cli: Cli) -> None:
    cli.write("bnlint.toml", "nonsense = 1\n")
    assert cli("rule", "BN101").code == 0
    assert cli("rule").code == 2
    assert cli("rule", "--isolated").code == 0


def test_the_pages_can_be_tested(acme: Cli) -> None:
    result = acme("rule", "--test")
    assert (result.code, result.out) == (0, "")
    assert "1 page with 3 blocks of code: no deviations" in result.err
    assert acme("rule", "--test", "acme101").code == 0
    acme.write(NAME, PAGE.replace("  # ACME101", ""))
    result = acme("rule", "--test")
    line = 1 + PAGE.splitlines().index("    return x - freeze(x.mean(dim=0))  # ACME101")
    assert result.code == 1
    assert result.out == f"ACME101-no-freeze.md:{line}: ACME101 is found here, and no comment says so\n"
    assert "1 deviation" in result.err


@pytest.mark.parametrize(
    ("code", "told"), [((), "no rules of your own"), (("BN101",), "`BN101` is no rule of your own")]
)
def test_there_may_be_no_pages_to_test(cli: Cli, code: tuple[str, ...], told: str) -> None:
    result = cli("rule", "--test", *code)
    assert result.code == 2
    assert told in result.err and "rule-folders" in result.err


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ('stops = ["acme.ops.freeze"]\n', "`acme.ops.freeze` is declared twice: in `stops` and in the page of ACME101"),
        ('statistics = [".frozen"]\n', "`.frozen` is declared twice: in `statistics` and in the page of ACME101"),
        ('stops = ["a.f"]\nstatistics = ["a.f"]\n', "`a.f` is declared twice: in `stops` and in `statistics`"),
        ('stops = ["freeze"]\n', "`freeze` is neither"),
        ('stopps = ["a.f"]\n', "unknown key `stopps`"),
    ],
)
def test_what_cannot_be_declared_is_one_line(acme: Cli, config: str, what: str) -> None:
    acme.write("bnlint.toml", CONFIG + config)
    for command in ("check", "fix"):
        result = acme(command)
        assert (result.code, result.out) == (2, "")
        assert what in result.err
        assert len(result.err.splitlines()) == 2


def test_the_same_name_twice_in_one_list_is_one(cli: Cli) -> None:
    cli.write("bnlint.toml", 'stops = ["acme.ops.freeze", "acme.ops.freeze"]\n')
    cli.write("a.py", BAD)
    assert cli.lines() == [f"{PLACE} BN101"]


def test_the_cache_knows_the_words(acme: Cli) -> None:
    acme.write("b.py", "from c import center\n\n\ndef f(x):\n    return x - center(x)\n")
    acme.write("c.py", "from acme.ops import freeze\n\n\ndef center(x):\n    return freeze(x.mean(0))\n")
    for file in acme.folder.glob("*.py"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    ours = [f"{PLACE} ACME101", "c.py:5:12: ACME101"]
    assert acme.lines() == acme.lines() == ours
    acme.write(NAME, PAGE.replace('"warning"', '"error"'))
    assert "error[ACME101]" in acme("check").out and "warning[" not in acme("check").out
    acme.write("bnlint.toml", 'stops = ["acme.ops.freeze"]\n')
    assert acme.lines() == [line.replace("ACME101", "BN101") for line in ours]
    acme.write("bnlint.toml", "")
    assert acme.lines() == acme.lines("--no-cache") == []


def test_the_cache_knows_the_words_of_another_folder(cli: Cli) -> None:
    cli.write("setup.cfg", "")
    cli.write("a.py", "from lib.c import center\n\n\ndef f(x):\n    return x - center(x)\n")
    cli.write("lib/c.py", "from acme.ops import freeze\n\n\ndef center(x):\n    return freeze(x.mean(0))\n")
    cli.write("lib/bnlint.toml", "")
    for file in cli.folder.rglob("*.py"):
        os.utime(file, (1_000_000_000, 1_000_000_000))
    assert cli.lines("a.py") == []
    cli.write("lib/bnlint.toml", 'stops = ["acme.ops.freeze"]\n')
    assert cli.lines("a.py") == ["lib/c.py:5:12: BN101"]


def test_the_example_of_the_documentation_is_a_configuration(tmp_path: Path) -> None:
    for number, example in enumerate(DOCS.split("```toml\n")[1:]):
        file = tmp_path / str(number) / "pyproject.toml"
        file.parent.mkdir()
        file.write_text(example.split("```")[0], encoding="utf-8")
        assert load(file.parent).given
