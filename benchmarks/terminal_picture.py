"""Draw docs/images/terminal.svg: what `bnlint check` prints for the bundled example, from a real run.

Run it from the root of the checkout: `python benchmarks/terminal_picture.py`.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 108
# Each with the number of lines that are shown: below the table, the second one repeats the excerpt of the first.
COMMANDS = (
    (["check", "examples/silent_batchnorm", "--select", "BN1"], None),
    (["check", "examples.silent_batchnorm.layers:broken_resnet18", "--input", "8x3x32x32"], 27),
)


def main() -> None:
    root = Path(__file__).parent.parent
    console = Console(record=True, width=WIDTH, force_terminal=True, file=io.StringIO())
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "TERM": "xterm-256color"}
    for command, count in COMMANDS:
        run = subprocess.run(
            [sys.executable, "-m", "bnlint", *command],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        lines = run.stdout.decode().rstrip().splitlines()
        shown = lines if count is None else [*lines[:count], "…"]
        console.print(Text("$ bnlint " + " ".join(command), "bold"))
        console.print(Text.from_ansi("\n".join([*shown, ""])), soft_wrap=True)
    svg = console.export_svg(title="bnlint", unique_id="bnlint")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # no request to a font server
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace")
    (root / "docs" / "images" / "terminal.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
