"""A command line in a folder of its own: what it returns, prints and writes."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bnlint.cli import main

BAD = "def f(x):\n    return x - x.mean().detach()\n"
FIXED = "def f(x):\n    return x - x.mean()\n"
UNFIXABLE = "import torch\n\n\ndef norm(x):\n    m = {0: x.mean().item()}\n    return x - m[0]\n"
UNUSED = "x = 1  # bnlint: ignore[BN101] gone\n"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


class Cli:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.capsys, self.monkeypatch = folder, capsys, monkeypatch

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def read(self, name: str) -> str:
        return (self.folder / name).read_bytes().decode()

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        self.capsys.readouterr()
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as exited:
            main(list(arguments))
        out, err = self.capsys.readouterr()
        assert "Traceback" not in out + err
        assert isinstance(exited.value.code, int)
        return Result(exited.value.code, out, err)

    def lines(self, *arguments: str, stdin: bytes = b"") -> list[str]:
        """What the concise format says, one `path:line:column: CODE` for each finding."""
        out = self("check", "-q", "--output-format", "concise", *arguments, stdin=stdin).out
        return [" ".join(line.split(" ", 2)[:2]) for line in out.splitlines()]
