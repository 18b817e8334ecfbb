from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bnlint import atomic
from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.files import check_files, read
from bnlint.source.fixing import fix_files

BAD = b"def f(x):\n    return x - x.mean().detach()\n"
FIXED = b"def f(x):\n    return x - x.mean()\n"
GOOD = b"def f(x):\n    return x\n"


def all_of(_: Finding) -> bool:
    return True


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    path = tmp_path / "bad.py"
    path.write_bytes(BAD)
    return path


def test_findings_come_in_the_order_of_the_files(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("b.py", "a.py", "c.py")]
    for path, content in zip(paths, (BAD, b"def f(:\n", GOOD), strict=True):
        path.write_bytes(content)
    seen: list[Path] = []
    found = check_files(paths, seen.append).findings
    assert [(f.code, f.location and f.location.path) for f in found] == [
        ("BN101", str(paths[0])),
        ("BN001", str(paths[1])),
    ]
    assert seen == paths


def test_a_missing_file_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        read(tmp_path / "none.py")
    assert raised.value.where == str(tmp_path / "none.py")


def test_fixing_writes_the_file_and_leaves_nothing_beside_it(bad: Path) -> None:
    (fixed,) = fix_files([bad], all_of, write=True)
    assert bad.read_bytes() == FIXED == fixed.after
    assert (len(fixed.findings), fixed.left) == (1, ())
    assert [p.name for p in bad.parent.iterdir()] == ["bad.py"]


def test_without_write_nothing_is_written(bad: Path) -> None:
    (fixed,) = fix_files([bad], all_of, write=False)
    assert bad.read_bytes() == BAD
    assert "-    return x - x.mean().detach()\n+    return x - x.mean()\n" in fixed.diff


def test_only_wanted_findings_are_fixed(bad: Path) -> None:
    (fixed,) = fix_files([bad], lambda finding: finding.code != "BN101", write=True)
    assert bad.read_bytes() == BAD
    assert (fixed.findings, fixed.left, fixed.diff) == ((), (), "")


def test_a_file_without_findings_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "good.py"
    path.write_bytes(GOOD)
    os.utime(path, (1, 1))
    fix_files([path], all_of, write=True)
    assert path.stat().st_mtime == 1


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755])
def test_the_mode_stays(bad: Path, mode: int) -> None:
    bad.chmod(mode)
    fix_files([bad], all_of, write=True)
    assert stat.S_IMODE(bad.stat().st_mode) == mode


def test_a_link_stays_a_link(bad: Path) -> None:
    (bad.parent / "other").mkdir()
    link = bad.parent / "other" / "link.py"
    link.symlink_to(bad)
    fix_files([link], all_of, write=True)
    assert link.is_symlink()
    assert bad.read_bytes() == FIXED
    assert [p.name for p in link.parent.iterdir()] == ["link.py"]


def test_a_write_that_fails_leaves_the_old_file_whole(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        fix_files([bad], all_of, write=True)
    assert bad.read_bytes() == BAD
    assert [p.name for p in bad.parent.iterdir()] == ["bad.py"]


def test_an_interrupt_leaves_the_old_file_whole(bad: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fix_files([bad], all_of, write=True)
    assert bad.read_bytes() == BAD
    assert [p.name for p in bad.parent.iterdir()] == ["bad.py"]


def test_a_broken_file_does_not_stop_the_others(bad: Path) -> None:
    broken = bad.parent / "broken.py"
    broken.write_bytes(b"def f(:\n")
    first, second = fix_files([broken, bad], all_of, write=True)
    assert [finding.code for finding in first.left] == ["BN001"]
    assert second.after == FIXED


def test_a_file_that_cannot_be_decoded_is_one_finding_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "undecodable.py"
    path.write_bytes(b"m = x.mean().detach()  # \xff\n")
    (fixed,) = fix_files([path], all_of, write=True)
    assert [finding.code for finding in fixed.left] == ["BN001"]
    assert (fixed.after, fixed.diff) == (fixed.before, "")


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            atomic.write(target, lambda file: file.write(b"x"))
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]
