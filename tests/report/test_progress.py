"""The progress bar says what is being done, whatever a file is called."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from bnlint.report import progress


@pytest.mark.parametrize(("name", "shown"), [("a[/b].py", "a[/b].py"), ("\x1b[31m.py", r"\x1b[31m.py")])
def test_a_file_name_is_no_markup_and_steers_nothing(name: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=100)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    monkeypatch.setattr(progress, "PATIENCE", -1.0)
    with progress.bar(2, "checking") as advance:
        advance(name)
    assert f"checking {shown}" in screen.getvalue()
