"""What the documentation says about the command line and the configuration is what there is."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import click
import pytest
from terminal import Cli

from bnlint.cli import cli as group
from bnlint.config import KEYS, load
from bnlint.report import FORMATS

ROOT = Path(__file__).parents[2]
CLI = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
OPTIONS = sorted(
    {
        name
        for command in group.commands.values()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in (max(parameter.opts, key=len), *parameter.secondary_opts)
    }
)


def test_every_option_is_documented_and_every_documented_one_exists() -> None:
    documented = {f"--{name}" for name in re.findall(r"--([a-z][a-z-]+)", CLI)}
    assert documented - {"--help"} == set(OPTIONS) - {"--output"}
    assert "--fail-on" in OPTIONS and "-o FILE" in CLI


def test_every_command_and_format_is_documented() -> None:
    assert set(re.findall(r"^bnlint (\w+)", CLI, re.MULTILINE)) == set(group.commands)
    listed = re.findall(r"^\| (`[^|]*`) \|", CLI.split("## Output formats")[1].split("\n## ")[0], re.MULTILINE)
    assert [name for cell in listed for name in re.findall(r"`([a-z-]+)`", cell)] == list(FORMATS)


def test_the_example_of_a_configuration_is_one(tmp_path: Path) -> None:
    example = CLI.split("```toml\n")[1].split("```")[0]
    (tmp_path / "pyproject.toml").write_text(example, encoding="utf-8")
    assert load(tmp_path).per_file_ignores == (("tests/**", ("BN1",)),)


def test_the_configuration_page_has_every_key_with_its_default(cli: Cli) -> None:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None and spec.loader is not None
    hooks = importlib.util.module_from_spec(spec)
    pytest.importorskip("mkdocs")
    spec.loader.exec_module(hooks)
    page = hooks.configuration()
    assert re.findall(r"^## `(.*)`$", page, re.MULTILINE) == list(KEYS)
    defaults = "".join(re.findall(r"```toml\n(.*?)```", page, re.DOTALL))
    assert tomllib.loads(defaults) == tomllib.loads(cli("config").out)
