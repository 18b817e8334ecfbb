"""Stop `bnlint fix` at random moments: every file must be whole, and what is left behind no source.

    python benchmarks/kill.py [--times 100] [--signal KILL] [--files 30] [--seed 0]

Each time a folder of broken files is fixed by a process of its own, which gets the signal after a random part of the
time that a whole run takes. Then each file must hold its old or its new text, whatever else lies there must not end
like source, and a further run must fix what is left and take away what the first one left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
OLD = "def f(x):\n    return x - x.mean().detach()\n"
NEW = "def f(x):\n    return x - x.mean()\n"
#: says when bnlint has begun to listen for signals: Python's own start, and the call of its entry, are not its to guard
START = """
import signal
listen = signal.signal
def told(*given):
    listen(*given)
    signal.signal = listen
    print("started", flush=True)
signal.signal = told
import bnlint.__main__ as entry
entry.main()
"""


@dataclass(frozen=True)
class Outcome:
    """How a run that got a signal ended: exit code, stderr, how many files it fixed, what it left behind."""

    code: int
    said: str
    fixed: int
    left: tuple[str, ...]


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start bnlint in a folder, and wait until it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def fill(folder: Path, files: int) -> None:
    for index in range(files):
        (folder / f"m{index}.py").write_text(OLD)


def stop(folder: Path, delay: float, number: signal.Signals, *arguments: str) -> Outcome:
    """Run bnlint in a folder, send it a signal after a while, and look at the files."""
    process = start(folder, *arguments)
    time.sleep(delay)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    texts = [file.read_text() for file in folder.glob("m*.py")]
    assert set(texts) <= {OLD, NEW}, "a file is neither old nor new"
    left = tuple(file.name for file in folder.iterdir() if file.name.startswith(".bnlint-"))
    assert {file.name for file in folder.glob("*.py")} == {f"m{index}.py" for index in range(len(texts))}
    return Outcome(process.returncode, said, texts.count(NEW), left)


def finish(folder: Path) -> None:
    """Fix what is left; nothing else must lie in the folder then."""
    with start(folder, "fix") as process:
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert {file.read_text() for file in folder.glob("*.py")} == {NEW}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--signal", choices=("KILL", "INT", "TERM"), default="KILL")
    parser.add_argument("--files", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance, number = random.Random(options.seed), signal.Signals[f"SIG{options.signal}"]
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder, options.files)
        began = time.monotonic()
        finish(folder)
        whole = time.monotonic() - began
        for _ in range(options.times):
            fill(folder, options.files)
            outcomes.append(stop(folder, chance.uniform(0, whole), number, "fix"))
            assert "Traceback" not in outcomes[-1].said
            if outcomes[-1].fixed < options.files:
                finish(folder)
                assert not list(folder.glob(".bnlint-*")), "what a killed run left is still there"
    stopped = [outcome for outcome in outcomes if 0 < outcome.fixed < options.files]
    codes = ", ".join(f"{count} × {code}" for code, count in sorted(Counter(each.code for each in outcomes).items()))
    print(f"{options.times} runs of {options.files} files got SIG{options.signal}: exit codes {codes}")
    amid = sum(bool(outcome.left) for outcome in outcomes)
    print(f"{len(stopped)} of them with some files fixed and others not, {amid} amid a file")
    print("every file was whole, and the next run did the rest and left nothing behind")


if __name__ == "__main__":
    main()
