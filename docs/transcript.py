"""Run the commands of docs/tour.md in an empty folder, and put what they print below them: `python docs/transcript.py`.

A block of Python with a title becomes the file of that name; then each line of a `console` block that starts with `$ `
is run in turn.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

TOUR = Path(__file__).with_name("tour.md")
_FILE = re.compile(r'```python title="(?P<name>[^"]+)"\n(?P<code>.*?)```', re.DOTALL)
_SESSION = re.compile(r"(?<=```console\n).*?(?=```)", re.DOTALL)
_WIDTH = 100


def run_again(page: str, folder: Path) -> str:
    """Return the page with the output of every command replaced by that of a new run in `folder`."""
    for match in _FILE.finditer(page):
        (folder / match["name"]).write_text(match["code"], encoding="utf-8")

    def session(match: re.Match[str]) -> str:
        commands = [line for line in match[0].splitlines() if line.startswith("$ ")]
        return "".join(f"{command}\n{_run(command[2:], folder)}" for command in commands)

    return _SESSION.sub(session, page)


def _run(command: str, folder: Path) -> str:
    root = str(TOUR.parents[1])
    environment = os.environ | {"COLUMNS": str(_WIDTH), "NO_COLOR": "1", "PYTHONPATH": root, "TERM": "dumb"}
    environment.pop("FORCE_COLOR", None)
    shell = f'python() {{ "{sys.executable}" "$@"; }}; bnlint() {{ python -m bnlint "$@"; }}; {command}'
    run = subprocess.run(
        ["bash", "-c", shell],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    return "".join(f"{line.rstrip()}\n" for line in run.stdout.decode().splitlines())


def main() -> None:
    """Bring the page up to date."""
    with tempfile.TemporaryDirectory() as folder:
        page = run_again(TOUR.read_text(encoding="utf-8"), Path(folder))
    TOUR.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
