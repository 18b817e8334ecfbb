"""`check --watch` as a process: what it reacts to, what it leaves alone, and how it ends."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal import BAD, FIXED, Cli

#: seconds that nothing takes unless it hangs
PATIENCE = 120


class Watch:
    """A running `bnlint check --watch`, and the lines that it prints."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        command = [sys.executable, "-m", "bnlint", "check", "--watch", "--output-format", "concise", *arguments]
        self.process = subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def told(self) -> list[str]:
        """Wait for the next check; return its findings without their messages, and the line that sums them up."""
        lines: list[str] = []
        while not lines or "waiting for changes" not in lines[-1]:
            lines.append(self.lines.get(timeout=PATIENCE))
        return [" ".join(line.split(" ", 2)[:2]) for line in lines[:-1]]

    def end(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / ".git").mkdir()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "f.py").write_text(FIXED, encoding="utf-8")
    (tmp_path / ".gitignore").write_text("made.py\n", encoding="utf-8")
    yield tmp_path


def put(path: Path, text: str) -> None:
    """Write a file at one go, so that no half of it is seen."""
    path.parent.mkdir(exist_ok=True)
    written = path.with_name("written.tmp")
    written.write_text(text, encoding="utf-8")
    written.replace(path)


def test_it_checks_again_after_each_change_that_counts_and_ends_well(project: Path) -> None:
    source = project / "src"
    watch = Watch(project, "src")
    try:
        assert watch.told() == ["no findings"]
        put(source / "f.py", BAD)
        assert watch.told() == ["src/f.py:2:24: BN101", "1 finding"]
        for left_alone in ("made.py", "notes.txt", "build/f.py", ".venv/pyproject.toml", "../other.py"):
            put(source / left_alone, BAD)
        time.sleep(1)
        assert watch.lines.empty()
        put(source / "new.py", BAD)
        assert watch.told() == ["src/f.py:2:24: BN101", "src/new.py:2:24: BN101", "2 findings"]
        (source / "f.py").unlink()
        assert watch.told() == ["src/new.py:2:24: BN101", "1 finding"]
        put(source / "bnlint.toml", 'ignore = ["BN9"]\n')
        assert watch.told() == [f"usage: {source / 'bnlint.toml'}:", " "]
        put(source / "bnlint.toml", 'ignore = ["BN1"]\n')
        assert watch.told() == ["no findings"]
        (source / "bnlint.toml").unlink()
        assert watch.told() == ["src/new.py:2:24: BN101", "1 finding"]
        put(project / "pyproject.toml", '[tool.bnlint]\nexclude = ["new.py"]\n')
        assert watch.told() == ["no findings"]
        assert watch.end() == 0
        assert watch.lines.empty()
    finally:
        watch.process.kill()


def test_a_file_that_is_named_is_watched_even_while_it_is_away(project: Path) -> None:
    file = project / "src" / "f.py"
    watch = Watch(project, "src/f.py")
    try:
        assert watch.told() == ["no findings"]
        file.unlink()
        assert watch.told()[0] == "error: src/f.py:"
        put(file, BAD)
        assert watch.told() == ["src/f.py:2:24: BN101", "1 finding"]
        assert watch.end() == 0
    finally:
        watch.process.kill()


@pytest.mark.parametrize(
    "arguments",
    [
        ("-",),
        ("model.pt",),
        ("package.module:make",),
        ("-o", "findings.txt"),
        ("--write-baseline", "--baseline", "known.json"),
        ("--add-ignores", "meant"),
        ("--show-files",),
    ],
)
def test_what_cannot_be_done_again_is_refused(cli: Cli, arguments: tuple[str, ...]) -> None:
    result = cli("check", "--watch", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: --watch ") and len(result.err.splitlines()) == 2


def test_the_first_check_fails_as_without_watching(cli: Cli) -> None:
    result = cli("check", "--watch", "missing")
    assert result.code == 2
    assert "no such file or folder" in result.err


def test_without_the_extra_one_line_says_how_to_install_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("f.py", BAD)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    result = cli("check", "--watch")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        "error: --watch needs watchfiles, which is not installed",
        '  hint: pip install "bnlint[watch]"',
    ]
