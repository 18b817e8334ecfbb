"""The hooks under the real pre-commit, installed as a stranger's repository installs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import pytest
from terminal import BAD, FIXED

ROOT = Path(__file__).parents[2]
PARTS = ("bnlint", "rules", "pyproject.toml", "README.md", "LICENSE", ".pre-commit-hooks.yaml")
CONFIG = "repos:\n- repo: {repo}\n  rev: {rev}\n  hooks:\n  - id: bnlint-fix\n    exclude: ^theirs/\n  - id: bnlint\n"
OFFLINE = re.compile("No matching distribution|Connection|Temporary failure|Network is unreachable|timed out")


@dataclass(frozen=True)
class Repository:
    """A git repository that uses the hooks."""

    folder: Path
    home: Path

    def git(self, *arguments: str) -> str:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout

    def pre_commit(self, *arguments: str) -> tuple[int, str]:
        script = shutil.which("pre-commit", path=sysconfig.get_path("scripts"))
        assert script is not None, "pre-commit is part of bnlint[dev]"
        variables = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHONPATH"))}
        done = subprocess.run(
            [script, *arguments],
            cwd=self.folder,
            env=variables | {"PRE_COMMIT_HOME": str(self.home), "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def stage(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        self.git("add", "-A")
        return path

    def reset(self) -> None:
        self.git("reset", "-q", "--hard")
        self.git("clean", "-qfdx")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Make a repository of the checkout and one that uses it, and let pre-commit install the hooks."""
    folder = tmp_path_factory.mktemp("pre-commit")
    tool, user = (Repository(folder / name, folder / "home") for name in ("tool", "user"))
    for each in (tool, user):
        each.folder.mkdir()
        each.git("init", "-q")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tool.folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / part, tool.folder / part)
    tool.git("add", "-A")
    tool.git("commit", "-qm", "bnlint")
    rev = tool.git("rev-parse", "HEAD").strip()
    user.stage(".pre-commit-config.yaml", CONFIG.format(repo=tool.folder, rev=rev))
    user.stage("bnlint.toml", 'exclude = ["generated.py"]\n')
    user.git("commit", "-qm", "hooks")
    code, said = user.pre_commit("install-hooks")
    if code and OFFLINE.search(said):
        pytest.skip("what bnlint needs cannot be downloaded here")
    assert code == 0, said
    return user


@pytest.fixture
def user(installed: Repository) -> Repository:
    installed.reset()
    return installed


def test_torch_is_not_installed(installed: Repository) -> None:
    names = {path.name for path in installed.home.rglob("site-packages/*")}
    assert "libcst" in names and not names & {"torch", "numpy"}


def test_the_fix_is_made_and_the_commit_is_not(user: Repository) -> None:
    path = user.stage("a.py", BAD)
    code, said = user.pre_commit("run", "bnlint-fix")
    assert (code, path.read_text()) == (1, FIXED)
    assert "files were modified by this hook" in said and "fixed 1 finding in 1 file" in said
    user.git("add", "a.py")
    assert user.pre_commit("run")[0] == 0


def test_the_check_fails_with_the_finding(user: Repository) -> None:
    path = user.stage("a.py", BAD)
    code, said = user.pre_commit("run", "bnlint")
    assert (code, path.read_text()) == (1, BAD)
    assert "a.py:2:24" in said and "BN101" in said


def test_what_is_not_staged_survives(user: Repository) -> None:
    path = user.stage("a.py", BAD + "\n\n\n\n\n\nx = 1\n")
    path.write_text(BAD + "\n\n\n\n\n\nx = 1\ny = 2  # not yet\n")
    code, said = user.pre_commit("run", "bnlint-fix")
    assert (code, "conflict" in said) == (1, False)
    assert path.read_text() == FIXED + "\n\n\n\n\n\nx = 1\ny = 2  # not yet\n"
    assert "not yet" not in user.git("show", ":a.py")


def test_what_is_excluded_here_or_there_is_left(user: Repository) -> None:
    ours, theirs = user.stage("generated.py", BAD), user.stage("theirs/a.py", BAD)
    assert user.pre_commit("run", "bnlint-fix")[0] == 0
    assert ours.read_text() == theirs.read_text() == BAD
    code, said = user.pre_commit("run", "bnlint")
    assert (code, "generated.py" in said, "theirs/a.py" in said) == (1, False, True)


def test_without_a_file_there_is_nothing_to_do(user: Repository) -> None:
    user.stage("notes.txt", "hello\n")
    assert user.pre_commit("run")[0] == 0


def test_a_notebook_is_checked_and_fixed(user: Repository) -> None:
    cell = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": BAD}
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    path = user.stage("a.ipynb", json.dumps(notebook, indent=1) + "\n")
    assert user.pre_commit("run", "bnlint")[0] == 1
    assert user.pre_commit("run", "bnlint-fix")[0] == 1
    assert "detach" not in path.read_text()
