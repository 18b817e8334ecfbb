"""Files that cannot be read, parsed or followed: each is one finding or one line, and the rest goes on."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from bnlint.source import interpret, record
from bnlint.source.check import MAX_PARSED, Checked, inspect_source
from bnlint.source.discover import discover
from bnlint.source.files import check_files

BAD = b"import torch\n\n\ndef f(x):\n    return x - x.mean().detach()\n"

BROKEN = {
    "no Python": b"def f(x:\n    return x - x.mean().detach()\n",
    "Python 2": b"print 'mean', x.mean().detach()\n",
    "an exec of Python 2": b"exec 'x' in y\n",
    "null bytes": b"x = 1\n\0\nm = x.mean().detach()\n",
    "not in its encoding": b"m = x.mean().detach()  # \xff\n",
    "UTF-16": "m = x.mean().detach()\n".encode("utf-16"),
    "an unknown encoding": b"# coding: no-such-encoding\nm = x.mean().detach()\n",
    "an encoding of no text": b"# coding: rot13\nm = x.mean().detach()\n",
    "a BOM against the coding line": codecs.BOM_UTF8 + b"# coding: latin-1\nm = x.mean().detach()\n",
    "deep parentheses": BAD + b"y = " + b"(" * 5_000 + b"1" + b")" * 5_000 + b"\n",
    "deep lists": BAD + b"y = " + b"[" * 5_000 + b"]" * 5_000 + b"\n",
    "deep blocks": BAD + b"".join(b" " * i + b"if x:\n" for i in range(200)) + b" " * 200 + b"pass\n",
    "a long chain of methods": BAD + b"y = x" + b".view(1)" * 5_000 + b"\n",
    "a long sum": BAD + b"y = x" + b" + 1" * 20_000 + b"\n",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_one_finding_and_the_next_is_checked(source: bytes, tmp_path: Path) -> None:
    first, second = tmp_path / "a.py", tmp_path / "b.py"
    first.write_bytes(source)
    second.write_bytes(BAD)
    checked = check_files([first, second])
    assert [(f.code, f.location and f.location.path) for f in checked.findings] == [
        ("BN001", str(first)),
        ("BN101", str(second)),
    ]


@pytest.mark.parametrize("name", ["a long sum", "a long chain of methods"])
def test_valid_python_is_not_called_invalid(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(BROKEN[name])
    (finding,) = check_files([tmp_path / "a.py"]).findings
    assert finding.message == "nested too deeply to be read"


def test_an_unreadable_file_is_told_and_the_next_is_checked(tmp_path: Path) -> None:
    (tmp_path / "b.py").write_bytes(BAD)
    (tmp_path / "a.py").mkdir()
    checked = check_files([tmp_path / "a.py", tmp_path / "gone.py", tmp_path / "b.py"])
    assert [error.where for error in checked.unreadable] == [str(tmp_path / "a.py"), str(tmp_path / "gone.py")]
    assert [finding.code for finding in checked.findings] == ["BN101"]


def test_links_in_a_circle_and_to_nowhere_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "a.py").write_bytes(b"from .b import center\nfrom .b.b import other\n" + BAD)
    (tmp_path / "pkg" / "round").symlink_to(tmp_path / "pkg", target_is_directory=True)
    (tmp_path / "pkg" / "b.py").symlink_to(tmp_path / "pkg" / "b.py")
    (tmp_path / "pkg" / "c.py").symlink_to(tmp_path / "nowhere.py")
    files = discover([tmp_path])
    assert files == [tmp_path / "pkg" / "a.py"]
    assert [finding.code for finding in check_files(files).findings] == ["BN101"]


#: the flow of `f` is lost, that of `g` is not
LOST = """import torch


def f(x):
    m = x.mean()
{}    return x - m.detach()


def g(x):
    return step(x) - x.mean().detach()


def step(x):
    return x
"""


def test_a_flow_that_is_lost_is_counted_and_said_nothing_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.py"
    for module, limit, line in ((record, "MAX_NODES", "x = x * 2 + 1"), (interpret, "MAX_CALLS", "x = step(x)")):
        path.write_text(LOST.format(f"    {line}\n" * 80))
        followed = check_files([path])
        assert ([f.symbol for f in followed.findings], followed.lost) == (["f", "g"], ())
        with monkeypatch.context() as patch:
            patch.setattr(module, limit, 40)
            checked = check_files([path])
        assert ([f.symbol for f in checked.findings], checked.lost) == (["g"], ((path, "f"),))


def test_a_flow_that_is_followed_is_not_counted() -> None:
    checked = inspect_source(BAD, "a.py")
    assert checked == Checked(checked.findings, ())


# -- which files are parsed as a whole: the page of BN001 says it

WRONG = b"\n\ndef wrong(:\n    pass\n"
LONG = b"\n" * MAX_PARSED


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        (WRONG, ["BN001"]),
        (WRONG + LONG, []),  # nothing to look at
        (BAD + WRONG + LONG, ["BN001"]),  # in place of its finding
        (BAD.replace(b".detach()", b"") + WRONG + LONG, []),
        (BAD.replace(b"(x)", b"(x") + LONG, ["BN001"]),  # what has to be looked at is wrong
    ],
)
def test_errors_in_large_files_are_told_where_there_is_something_to_find(source: bytes, codes: list[str]) -> None:
    assert [finding.code for finding in inspect_source(source, "a.py").findings] == codes
