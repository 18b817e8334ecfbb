"""Work on many files at once: the same as one by one, in order, and over when the parent is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from snippets import IMPORTS

from bnlint.source import pool
from bnlint.source.files import check_files

STOPPED = "\n\nclass Norm(nn.Module):\n    def forward(self, x):\n        return x - x.mean(0).detach()  # BN101\n"


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MIN_BYTES", 0)
    monkeypatch.setattr(pool, "_processors", lambda: 3)


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"m{number:02}.py" for number in range(20)]
    for number, path in enumerate(found):
        path.write_text(IMPORTS + STOPPED * (number % 3), encoding="utf-8")
    return found


@pytest.mark.usefixtures("several")
def test_results_come_in_order_from_other_processes(paths: list[Path]) -> None:
    results = list(pool.each(paths, lambda path: (path.name, os.getpid())))
    assert [(path.name, name) for path, (name, _) in results] == [(path.name, path.name) for path in paths]
    assert os.getpid() not in {process for _, (_, process) in results}


def test_a_little_work_starts_no_process(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "_processors", lambda: 3)
    assert {process for _, process in pool.each(paths, lambda _: os.getpid())} == {os.getpid()}


@pytest.mark.usefixtures("several")
def test_what_is_found_is_the_same(paths: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    missing = [*paths, tmp_path / "missing.py"]
    cache = tmp_path / "cache"
    at_once = check_files(missing, cache_folder=cache)
    monkeypatch.setattr(pool, "_processors", lambda: 1)
    one_by_one = check_files(missing)
    assert at_once.findings == one_by_one.findings
    assert len(at_once.findings) > 10
    assert [str(error) for error in at_once.unreadable] == [str(error) for error in one_by_one.unreadable]
    assert len(list(cache.glob("*.json"))) == len(paths)


@pytest.mark.usefixtures("several")
def test_an_error_in_another_process_is_raised_here(paths: list[Path]) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError(path.name)

    with pytest.raises(ZeroDivisionError, match=r"m00\.py"):
        list(pool.each(paths, fail))


@pytest.mark.usefixtures("several")
def test_what_a_killed_process_leaves_is_done_here(paths: list[Path]) -> None:
    here = os.getpid()

    def killed(path: Path) -> str:
        if path.name == "m07.py" and os.getpid() != here:
            os._exit(9)
        return path.name

    assert list(pool.each(paths, killed)) == [(path, path.name) for path in paths]
