"""What the documentation shows is what there is: command lines, recipes, outputs, the table of rules."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest
import yaml
from click.testing import CliRunner

from bnlint.cli import cli
from bnlint.pages import load_pages

ROOT = Path(__file__).parents[1]
PAGES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in (ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("rules/*.md"), *ROOT.glob("examples/*/*.md"))
}
BLOCK = re.compile(r"^```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?<![\w/.-])(?:\.venv/bin/)?bnlint (?:check|fix|rule|config|clean|version|server)\b[^`'\n]*")
CI = PAGES["docs/ci.md"]


def command_lines() -> Iterator[tuple[str, str]]:
    """Every `bnlint …` of a page, in a block or among the words, without comments and pipes; output is no command."""
    for name, page in PAGES.items():
        for match in BLOCK.finditer(page):
            lines = match["text"].splitlines()
            if match["language"] == "console":
                lines = [line for line in lines if line.startswith("$ ")]
            elif match["language"] not in ("sh", "yaml", "groovy"):
                continue
            yield from ((name, found) for line in lines for found in COMMAND.findall(re.sub(r"\s#.*", "", line)))
        for span in re.findall(r"`(bnlint [^`]+)`", BLOCK.sub("", page)):
            yield from ((name, found) for found in COMMAND.findall(span))


LINES = sorted(set(command_lines()))


@pytest.mark.parametrize(("page", "line"), LINES)
def test_every_command_line_is_accepted(page: str, line: str) -> None:
    words = shlex.split(re.split(r" [|&;>]| \.\.\.| …", line)[0])[1:]
    context = cli.make_context("bnlint", words, resilient_parsing=True)
    name, command, rest = cli.resolve_command(context, words)
    assert command is not None, f"{page}: no command {name}"
    try:
        command.make_context(name, rest, parent=context)
    except click.UsageError as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


def test_command_lines_are_found_everywhere() -> None:
    assert {"README.md", "docs/ci.md", "docs/tour.md", "docs/cli.md", "docs/faq.md"} <= {page for page, _ in LINES}
    assert any(line.startswith("bnlint check --output-format gitlab") for _, line in LINES)
    assert any(".venv/bin/bnlint check --output-format junit" in line for _, line in LINES)


def recipe(title: str) -> dict[str, object]:
    page = CI.split(f'```yaml title="{title}"\n', 1)[1]
    content: dict[str, object] = yaml.safe_load(page.split("\n```", 1)[0])
    return content


def test_every_recipe_is_yaml() -> None:
    blocks = [match["text"] for page in PAGES.values() for match in BLOCK.finditer(page) if match["language"] == "yaml"]
    assert len(blocks) >= 6
    assert all(yaml.safe_load(block) for block in blocks)


def test_the_workflow_uploads_what_bnlint_writes() -> None:
    job = recipe(".github/workflows/bnlint.yml")["jobs"]["bnlint"]  # type: ignore[index]
    assert job["permissions"]["security-events"] == "write"
    check, upload = job["steps"][-2:]
    assert check["run"].split(" -o ")[1] == upload["with"]["sarif_file"]
    assert "cancelled" in upload["if"]  # findings fail the check, and must be uploaded all the same


def test_the_gitlab_job_keeps_its_report_when_it_fails() -> None:
    job = recipe(".gitlab-ci.yml")["bnlint"]
    assert job["artifacts"]["when"] == "always"  # type: ignore[index]
    assert job["script"][-1].split(" -o ")[1] == job["artifacts"]["reports"]["codequality"]  # type: ignore[index]


def test_the_pre_commit_recipes_name_hooks_that_exist() -> None:
    there = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
    remote, local = re.findall(r'```yaml title="\.pre-commit-config\.yaml"\n(.*?)```', CI, re.DOTALL)
    assert yaml.safe_load(remote)["repos"][0]["hooks"][0]["id"] in there
    assert yaml.safe_load(local)["repos"][0]["hooks"][0]["entry"] == there["bnlint"]["entry"]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(shutil.which("bash") is None, reason="the tour is a session of a shell")
def test_the_tour_shows_what_its_commands_print(tmp_path: Path) -> None:
    page = PAGES["docs/tour.md"]
    again = load("transcript").run_again(page, tmp_path)
    # the last digits of what is measured depend on the machine
    shown, printed = (re.sub(r"\d\.\d+(e-\d+)?", "0", text).splitlines() for text in (page, again))
    assert printed == shown


def test_the_example_of_json_is_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r'```python title="norm.py"\n(.*?)```', PAGES["docs/tour.md"], re.DOTALL)
    assert code is not None
    (tmp_path / "norm.py").write_text(code[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(cli, ["check", "norm.py", "--select", "BN101", "--output-format", "json"])
    example = PAGES["docs/json.md"].split("```json\n")[1].split("```")[0]
    assert json.loads(run.stdout) == json.loads(example)


def test_the_picture_of_the_terminal_is_not_stale() -> None:
    svg = (ROOT / "docs" / "images" / "terminal.svg").read_text(encoding="utf-8")
    words = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", svg)).split())
    command = [sys.executable, "-m", "bnlint", "check", "examples/silent_batchnorm", "--select", "BN1", "--isolated"]
    environment = os.environ | {"COLUMNS": "108", "FORCE_COLOR": "1"}  # the terminal of the picture
    environment.pop("NO_COLOR", None)
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, encoding="utf-8")
    out = re.sub(r"\x1b\[[\d;]*m", "", run.stdout)
    lines = [" ".join(line.split()) for line in out.splitlines() if re.search(r"^error|-->|= help|here$", line)]
    assert len(lines) > 8
    missing = [line for line in lines if line.replace(" ", "") not in words.replace(" ", "")]
    assert not missing, f"run benchmarks/terminal_picture.py: {missing}"


def test_the_table_of_rules_says_whether_there_is_a_fix() -> None:
    pytest.importorskip("mkdocs")
    hooks = load("hooks")
    fixes = {page.code: hooks.fix_of(page) for page in load_pages(ROOT / "rules").values()}
    assert set(fixes.values()) == {"safe", "unsafe", "–"}
    assert (fixes["BN101"], fixes["BN301"], fixes["BN401"]) == ("safe", "unsafe", "–")


def test_no_page_asks_another_server_for_anything() -> None:
    theme = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in theme and "extra_javascript" not in theme
    for name, page in PAGES.items():
        assert not re.search(r"!\[[^\]]*\]\(https?:", page), f"{name} shows a picture from another server"
    for picture in (ROOT / "docs" / "images").glob("*.svg"):
        assert "url(http" not in picture.read_text(encoding="utf-8"), picture.name


def test_links_between_files_lead_somewhere() -> None:
    """MkDocs looks after those of the site; these are read where the checkout is read."""
    for name in ("README.md", "CONTRIBUTING.md", "examples/silent_batchnorm/README.md"):
        links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", (ROOT / name).read_text(encoding="utf-8"))
        missing = [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]
        assert not missing, f"{name}: {missing}"


def test_the_site_knows_all_of_its_pages() -> None:
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert set(re.findall(r": ([\w-]+\.md)\b", config)) - {"configuration.md"} == {
        file.name for file in ROOT.glob("docs/*.md")
    }
