"""The laws of docs/architecture.md that are about what may import, read or rewrite what."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "bnlint"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

REFUSED = "torch was asked for and refused"
# As sitecustomize it is in force before the first import, and in every process that the command starts.
SITECUSTOMIZE = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            print({REFUSED!r}, file=sys.stderr)
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Refuse())
"""

STOPPED_BATCH_NORM = """
import torch
from torch import nn


class BatchNorm(nn.BatchNorm2d):
    def forward(self, x):
        mean = x.mean(dim=(0, 2, 3), keepdim=True).detach()
        var = x.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        return (x - mean) / torch.sqrt(var + self.eps)


def factory():
    return BatchNorm(3)
"""
LINE_OF_THE_STOP = 8
LINES_OF_A_PIPELINE = 30
LINES_OF_A_FILE = 300

# All else in these folders works on values; what touches a file, a process or a console is here or outside of them.
SHELLS = {
    "source/definitions.py",
    "source/discover.py",
    "source/files.py",
    "source/fixing.py",
    "source/spelling.py",
    "source/pool.py",
    "source/project.py",
}
PURE_FOLDERS = ("flow", "source", "report")
BUILTIN_EFFECTS = {"open", "print", "input"}
METHOD_EFFECTS = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "system"}
EFFECT_MODULES = {"subprocess", "shutil", "tempfile", "multiprocessing", "socket"}


@pytest.fixture
def user(tmp_path: Path) -> Path:
    """A folder with a bad file, as a user without torch has it."""
    (tmp_path / "without_torch").mkdir()
    (tmp_path / "without_torch" / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
    (tmp_path / "bad.py").write_text(STOPPED_BATCH_NORM, encoding="utf-8")
    return tmp_path


def run_without_torch(user: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=user,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(user / "without_torch"), str(ROOT)]), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_static_check_never_asks_for_torch(user: Path) -> None:
    result = run_without_torch(user, "-m", "bnlint", "check", "--output-format", "concise", "bad.py")
    assert result.returncode == 1, result.stderr
    assert REFUSED not in result.stderr
    assert f"bad.py:{LINE_OF_THE_STOP}:" in result.stdout
    assert "BN101" in result.stdout


def test_the_static_fix_never_asks_for_torch(user: Path) -> None:
    result = run_without_torch(user, "-m", "bnlint", "fix", "bad.py")
    assert result.returncode == 0, result.stderr
    assert REFUSED not in result.stderr
    assert ".detach()" not in (user / "bad.py").read_text(encoding="utf-8")


def test_a_torchless_process_would_notice_an_import_of_torch(user: Path) -> None:
    result = run_without_torch(user, "-c", "import torch")
    assert result.returncode == 1
    assert REFUSED in result.stderr


def test_checking_a_model_without_torch_names_the_extra(user: Path) -> None:
    result = run_without_torch(user, "-m", "bnlint", "check", "bad:factory")
    assert result.returncode == 2
    assert "bnlint[torch]" in result.stderr
    assert "Traceback" not in result.stderr


def test_installing_bnlint_does_not_install_torch() -> None:
    todo, seen = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]], set()
    assert todo
    while todo:
        requirement = todo.pop()
        name = requirement.name.lower()
        if name not in seen and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            seen.add(name)
            todo += map(Requirement, importlib.metadata.requires(name) or [])
    assert not {"torch", "torchvision", "numpy"} & seen
    assert any(Requirement(text).name == "torch" for text in PYPROJECT["project"]["optional-dependencies"]["torch"])


def test_pre_commit_accepts_the_hooks() -> None:
    script = script_of("pre-commit")
    result = subprocess.run(
        [script, "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def script_of(name: str) -> str:
    script = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert script is not None, f"{name} is part of bnlint[dev]"
    return script


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script_of("lint-imports"), "--no-logo", "--no-cache"],
        cwd=root,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_import_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_import_contract_can_be_broken(tmp_path: Path) -> None:
    contracts = PYPROJECT["tool"]["importlinter"]["contracts"]
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(PACKAGE, tmp_path / "bnlint", ignore=shutil.ignore_patterns("__pycache__"))
    for contract in contracts:
        package = tmp_path.joinpath(*contract["source_modules"][0].split("."))
        with (package / "__init__.py").open("a", encoding="utf-8") as file:
            file.write(f"\nimport {contract['forbidden_modules'][0]}\n")
    result = lint_imports(tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"0 kept, {len(contracts)} broken" in result.stdout


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (PACKAGE / folder).rglob("*.py"))


def test_pure_modules_touch_no_file_process_or_console() -> None:
    pure = [path for path in modules(*PURE_FOLDERS) if path.relative_to(PACKAGE).as_posix() not in SHELLS]
    assert pure
    assert [f"{path}:{line}" for path in pure for line in effects(path.read_text(encoding="utf-8"))] == []


def effects(text: str) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt | ast.expr) and acts(node)]


def acts(node: ast.stmt | ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return name in BUILTIN_EFFECTS
        case ast.Call(func=ast.Attribute(attr=name)):
            return name in METHOD_EFFECTS
        case ast.Import(names=names):
            return bool(EFFECT_MODULES & {alias.name for alias in names})
        case ast.ImportFrom(module=module):
            return module in EFFECT_MODULES
        case _:
            return False


@pytest.mark.parametrize("line", ["open('x')", "path.write_text('x')", "import subprocess", "from shutil import move"])
def test_an_effect_would_be_noticed(line: str) -> None:
    assert effects(f"def f(path):\n    {line}\n") == [2]


def test_no_visitor_rewrites_what_it_finds() -> None:
    rewriting = re.compile(r"\b(CSTTransformer|NodeTransformer|MatcherDecoratableTransformer|RemovalSentinel)\b")
    assert modules("source")
    assert [path for path in modules("source") if rewriting.search(path.read_text(encoding="utf-8"))] == []


def test_the_command_line_holds_no_engine() -> None:
    tree = ast.parse((PACKAGE / "cli.py").read_text(encoding="utf-8"))
    froms = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    engines = ("ast", "libcst", "torch", "bnlint.flow", "bnlint.source.lower", "bnlint.model.lower")
    assert [name for name in froms | plain if name.startswith(engines)] == []


@pytest.mark.parametrize("pipeline", ["source/check.py", "model/check.py", "repairs/apply.py"])
def test_a_pipeline_reads_as_the_pipeline(pipeline: str) -> None:
    tree = ast.parse((PACKAGE / pipeline).read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert functions
    assert [node.name for node in functions if own_lines(node) > LINES_OF_A_PIPELINE] == []


def own_lines(function: ast.FunctionDef) -> int:
    """The lines of a function from its first statement after the docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def test_no_file_of_the_package_outgrows_one_idea() -> None:
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(".")}
    assert {path: size for path, size in sizes.items() if size > LINES_OF_A_FILE} == {}
