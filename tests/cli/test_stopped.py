"""Runs that end before their time, or beside each other: every file is old or new, and nothing is left behind."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from terminal import BAD, FIXED, Cli

from bnlint.source import fixing

ROOT = Path(__file__).parents[2]
posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


@pytest.fixture(scope="module")
def kill() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kill", ROOT / "benchmarks" / "kill.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kill"] = module
    spec.loader.exec_module(module)
    return module


@posix
@pytest.mark.parametrize("command", ["check", "fix"])
def test_ctrl_c_at_any_time(tmp_path: Path, kill: ModuleType, command: str) -> None:
    chance = random.Random(command)
    for delay in (0, *(chance.uniform(0, 0.5) for _ in range(4))):
        kill.fill(tmp_path, 10)
        outcome = kill.stop(tmp_path, delay, signal.SIGINT, command, "--select", "BN101")
        assert outcome.left == ()
        if outcome.code == 130:
            assert outcome.said.strip() == "interrupted"
        else:  # it was done before
            assert outcome.code == (1 if command == "check" else 0) and "Traceback" not in outcome.said


@posix
def test_killed_at_any_time(tmp_path: Path, kill: ModuleType) -> None:
    chance = random.Random(0)
    for _ in range(5):
        kill.fill(tmp_path, 10)
        kill.stop(tmp_path, chance.uniform(0, 1), signal.SIGKILL, "fix")
        kill.fill(tmp_path, 1)
        kill.finish(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"m{index}.py" for index in range(10))


def run(folder: Path, *arguments: str, first: str = "") -> subprocess.CompletedProcess[str]:
    """Run bnlint in a process that does something else first."""
    return subprocess.run(
        [sys.executable, "-c", f"import os, signal; {first}\nfrom bnlint.__main__ import main; main()", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@posix
def test_what_a_killed_run_leaves_is_no_source_and_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BAD)
    killed = run(tmp_path, "fix", first="os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)")
    assert killed.returncode == -signal.SIGKILL
    (left,) = (path for path in tmp_path.iterdir() if path.name != "a.py")
    assert left.suffix == ".tmp" and left.read_text() == FIXED and (tmp_path / "a.py").read_text() == BAD
    assert run(tmp_path, "check", "--show-files").stdout == "a.py\n"
    assert run(tmp_path, "fix").returncode == 0
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.py", FIXED)]


@posix
def test_what_another_run_is_writing_stays(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BAD)
    other = (
        "import pathlib, bnlint.atomic as atomic\n"
        "atomic.write(pathlib.Path('other'), lambda file: (file.write(b'x'), print(flush=True), input()))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", other],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert run(tmp_path, "fix").returncode == 0
    process.communicate("\n")
    assert process.returncode == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.py": FIXED, "other": "x"}


@posix
@pytest.mark.parametrize("arguments", [("fix",), ("check", "--fix"), ("check", "--add-ignores", "why")])
def test_a_full_disk(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The limit on the size of a file stands for the disk: it holds the small file, not the large one."""
    large, small = BAD + "# more\n" * 100, BAD
    (tmp_path / "a.py").write_text(large)
    (tmp_path / "b.py").write_text(small)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))"
    result = run(tmp_path, *arguments, first=limit)
    assert result.returncode == 2
    assert "error: a.py: cannot be written: File too large" in result.stderr.splitlines()
    assert (tmp_path / "a.py").read_text() == large
    assert (tmp_path / "b.py").read_text() not in (small, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.py", "b.py"]


@posix
def test_a_full_disk_under_the_cache_is_no_cache(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BAD)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))"
    assert run(tmp_path, "check", first=limit).returncode == 1
    assert {path.suffix for path in (tmp_path / ".bnlint_cache").iterdir()} <= {"", ".json"}
    assert run(tmp_path, "check").returncode == 1


@pytest.mark.parametrize("arguments", [("fix",), ("check", "--fix"), ("check", "--add-ignores", "why")])
def test_a_file_that_changes_meanwhile_is_left_and_the_others_are_fixed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    cli.write("a.py", BAD)
    cli.write("b.py", BAD)
    replace = fixing._replace

    def meanwhile(file: fixing.FixedFile) -> None:
        if file.path.name == "a.py":
            cli.write("a.py", "mine = 1\n")
        replace(file)

    monkeypatch.setattr(fixing, "_replace", meanwhile)
    result = cli(*arguments)
    assert result.code == 2
    assert "error: a.py: has changed while it was read, and is left as it is" in result.err.splitlines()
    assert (cli.read("a.py"), cli.read("b.py") == BAD) == ("mine = 1\n", False)
    assert {path.suffix for path in cli.folder.iterdir()} <= {".py", ""}


def test_two_runs_at_once_on_one_cache(tmp_path: Path) -> None:
    for index in range(10):
        (tmp_path / f"m{index}.py").write_text(BAD)
    command = [sys.executable, "-m", "bnlint", "check", "--output-format", "json"]
    started = [
        subprocess.Popen(
            command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    said = [process.communicate()[0] for process in started]
    assert said[0] == said[1]
    assert [each["path"] for each in json.loads(said[0])] == [f"m{index}.py" for index in range(10)]
    assert not list(tmp_path.glob(".bnlint_cache/*.tmp"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_a_file_keeps_its_owner(cli: Cli) -> None:
    path = cli.write("a.py", BAD)
    os.chown(path, 1234, 4321)
    assert cli("fix").code == 0
    assert (path.read_text(), path.stat().st_uid, path.stat().st_gid) == (FIXED, 1234, 4321)


def test_an_interrupt_that_became_another_error_is_one(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("while a class was made") from error

    monkeypatch.setattr(fixing, "fix_text", interrupted)
    cli.write("a.py", BAD)
    result = cli("fix")
    assert (result.code, result.err) == (130, "interrupted\n")
