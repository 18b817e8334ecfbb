"""Which settings hold for which file: nearest configuration, excludes, ignores by file, the command line on top."""

from __future__ import annotations

import pytest
from terminal import BAD, UNFIXABLE, Cli


@pytest.fixture
def tree(cli: Cli) -> Cli:
    for folder in ("", "sub/", "sub/deep/"):
        cli.write(f"{folder}a.py", BAD)
        cli.write(f"{folder}b.py", UNFIXABLE)
    return cli


def files(lines: list[str]) -> list[str]:
    return [line.split(":")[0] for line in lines]


UNBIASED = """import torch
from torch import nn


class BatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        mean = x.mean((0, 2, 3), keepdim=True)
        var = x.var((0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(var + self.eps)
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)
"""
ALL = ["a.py", "b.py", "sub/a.py", "sub/b.py", "sub/deep/a.py", "sub/deep/b.py"]


def test_the_nearest_configuration_holds_for_each_file(tree: Cli) -> None:
    tree.write("bnlint.toml", 'ignore = ["BN101"]\n')
    tree.write("sub/pyproject.toml", '[tool.bnlint]\nignore = ["BN104"]\n')
    tree.write("sub/deep/pyproject.toml", "[tool.ruff]\n")
    assert files(tree.lines()) == ["b.py", "sub/a.py", "sub/deep/a.py"]
    assert files(tree.lines("sub/b.py", "b.py")) == ["b.py"]
    assert files(tree.lines("--isolated")) == ALL
    assert files(tree.lines("--config", "sub/pyproject.toml")) == ["a.py", "sub/a.py", "sub/deep/a.py"]


@pytest.mark.parametrize(
    ("options", "codes"),
    [
        ([], {"BN101"}),
        (["--extend-select", "BN104"], {"BN101", "BN104"}),
        (["--select", "BN104"], {"BN104"}),
        (["--ignore", "BN101"], set()),
        (["--extend-select", "BN1", "--ignore", "BN101"], {"BN104"}),
        (["--select", "BN102", "--extend-select", "BN104"], {"BN104"}),
    ],
)
@pytest.mark.parametrize(
    "config", ['select = ["BN101"]', 'ignore = ["BN104"]', 'select = ["BN101"]\nignore = ["BN104"]']
)
def test_the_command_line_wins_over_the_configuration(
    tree: Cli, config: str, options: list[str], codes: set[str]
) -> None:
    tree.write("bnlint.toml", config)
    assert {line.split()[1] for line in tree.lines(*options)} == codes


def test_extend_select_in_a_configuration(tree: Cli) -> None:
    tree.write("bnlint.toml", 'select = ["BN102"]\nextend-select = ["BN104"]\n')
    assert {line.split()[1] for line in tree.lines()} == {"BN104"}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ([], ["b.py", "sub/b.py", "sub/deep/a.py", "sub/deep/b.py"]),
        (["--extend-exclude", "deep"], ["b.py", "sub/b.py"]),
        (["--exclude", "deep"], ["b.py", "sub/a.py", "sub/b.py"]),
        (["--exclude", "/sub/"], ["b.py"]),
    ],
)
def test_excludes_of_configuration_and_command_line(tree: Cli, options: list[str], left: list[str]) -> None:
    tree.write("bnlint.toml", 'exclude = ["/sub/a.py"]\nextend-exclude = ["/a.py"]\n')
    assert files(tree.lines(*options)) == left


def test_excludes_are_relative_to_their_configuration(tree: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("sub/bnlint.toml", 'exclude = ["/a.py", "deep/b.py"]\n')
    expected = ["a.py", "b.py", "sub/b.py", "sub/deep/a.py"]
    assert files(tree.lines()) == expected
    monkeypatch.chdir(tree.folder / "sub" / "deep")
    assert files(tree.lines()) == ["a.py"]
    assert files(tree.lines("..")) == ["../b.py", "../deep/a.py"]
    monkeypatch.chdir(tree.folder)
    assert files(tree.lines("--config", "sub/bnlint.toml")) == [
        "b.py",
        "sub/a.py",
        "sub/b.py",
        "sub/deep/a.py",
        "sub/deep/b.py",
    ]


def test_the_command_line_wins_over_a_switch_either_way(tree: Cli) -> None:
    tree.write(".gitignore", "b.py\n")
    tree.write("bnlint.toml", 'exclude = ["sub/"]\nforce-exclude = true\nrespect-gitignore = false\n')
    assert files(tree.lines("sub/a.py", "a.py")) == ["a.py"]
    assert files(tree.lines("sub/a.py", "a.py", "--no-force-exclude")) == ["sub/a.py", "a.py"]
    assert files(tree.lines()) == ["a.py", "b.py"]
    assert files(tree.lines("--respect-gitignore")) == ["a.py"]
    tree.write("bnlint.toml", 'exclude = ["sub/"]\n')
    assert files(tree.lines()) == ["a.py"]
    assert files(tree.lines("--no-respect-gitignore")) == ["a.py", "b.py"]


def test_unsafe_fixes_of_the_configuration_can_be_left_out(tree: Cli) -> None:
    tree.write("bnlint.toml", "unsafe-fixes = true\n")
    tree.write("norm.py", UNBIASED)
    kept = tree("fix", "--diff", "--no-unsafe-fixes", "norm.py")
    assert (kept.code, kept.out) == (0, "")
    assert "unbiased=False" in tree("fix", "--diff", "norm.py").out


@pytest.mark.parametrize("by", ["option", "configuration"])
def test_force_exclude_holds_for_what_is_named(tree: Cli, by: str) -> None:
    tree.write("bnlint.toml", 'exclude = ["sub/"]\n' + "force-exclude = true\n" * (by == "configuration"))
    tree.write("build/a.py", BAD)
    named = ["a.py", "sub/a.py", "sub/deep", "build/a.py"]
    options = ["--force-exclude"] * (by == "option")
    assert files(tree.lines(*options, *named)) == ["a.py"]
    tree.write("bnlint.toml", 'exclude = ["sub/"]\n')
    assert files(tree.lines(*named)) == ["a.py", "sub/a.py", "sub/deep/a.py", "sub/deep/b.py", "build/a.py"]


def test_gitignore_by_configuration(tree: Cli) -> None:
    tree.write(".gitignore", "sub/\n")
    assert files(tree.lines()) == ["a.py", "b.py"]
    tree.write("bnlint.toml", "respect-gitignore = false\n")
    assert files(tree.lines()) == ALL


def test_per_file_ignores(tree: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("bnlint.toml", '[per-file-ignores]\n"sub/**" = ["BN101"]\n"b.py" = ["BN1"]\n"/a.py" = ["BN104"]\n')
    assert tree.lines() == ["a.py:2:24: BN101"]
    monkeypatch.chdir(tree.folder / "sub")
    assert tree.lines() == []
    assert tree.lines("../a.py") == ["../a.py:2:24: BN101"]


def test_per_file_ignores_for_all_other_files(tree: Cli) -> None:
    tree.write("bnlint.toml", '[per-file-ignores]\n"!sub/deep/" = ["ALL"]\n"!b.py" = ["BN104"]\n')
    assert tree.lines() == ["sub/deep/a.py:2:24: BN101", "sub/deep/b.py:5:21: BN104"]
    tree.write("bnlint.toml", '[per-file-ignores]\n"!a.py" = ["ALL"]\n"./sub/a.py" = ["ALL"]\n')
    assert files(tree.lines()) == ["a.py", "sub/deep/a.py"]


@pytest.mark.parametrize("spelled", ["./sub", "./sub/", "{here}/sub", "{here}/sub/", "{here}/sub/**"])
def test_an_excluded_path_may_be_spelled_as_people_do(tree: Cli, spelled: str) -> None:
    tree.write("lib/sub/a.py", BAD)
    pattern = spelled.format(here=tree.folder)
    assert files(tree.lines("--exclude", pattern)) == ["a.py", "b.py", "lib/sub/a.py"]
    tree.write("bnlint.toml", f"exclude = ['{pattern}']\n")
    assert files(tree.lines()) == ["a.py", "b.py", "lib/sub/a.py"]


def test_per_file_ignores_hold_for_fix(tree: Cli) -> None:
    tree.write("bnlint.toml", '[per-file-ignores]\n"sub/**" = ["ALL"]\n')
    tree("fix", "--ignore", "BN104")
    assert (tree.read("a.py") == BAD, tree.read("sub/a.py") == BAD) == (False, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('fail-on = "fatal"', "one of error, warning, note"),
        ('output-format = "xml"', "one of full"),
        ("force-exclude = 1", "true or false"),
        ('per-file-ignores = ["BN1"]', "a table of lists"),
        ('per-file-ignores = { "a" = "BN1" }', "a table of lists"),
        ('per-file-ignores = { "a" = ["BN999"] }', "BN999"),
        ('extend-select = ["E501"]', "E501"),
        ('baseline = ""', "a string"),
        ('fail_on = "error"', "unknown key `fail_on`"),
    ],
)
def test_a_wrong_value_in_any_configuration_exits_2(tree: Cli, text: str, said: str) -> None:
    tree.write("sub/deep/bnlint.toml", text)
    for command in ("check", "fix"):
        result = tree(command)
        assert (result.code, result.out) == (2, "")
        assert said in result.err.splitlines()[0]
        assert tree.read("a.py") == BAD


def test_output_format_by_configuration_environment_and_option(tree: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.write("bnlint.toml", 'output-format = "json"\n')
    assert tree("check").out.startswith("[")
    monkeypatch.setenv("BNLINT_OUTPUT_FORMAT", "github")
    assert tree("check").out.startswith("::error")
    assert tree("check", "--output-format", "concise").out.startswith("a.py:2")


def test_an_environment_with_a_wrong_format_exits_2(tree: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BNLINT_OUTPUT_FORMAT", "xml")
    assert tree("check").code == 2
