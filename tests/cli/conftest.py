from __future__ import annotations

from pathlib import Path

import pytest
from terminal import Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("BNLINT_OUTPUT_FORMAT", raising=False)
    return Cli(tmp_path, capsys, monkeypatch)
