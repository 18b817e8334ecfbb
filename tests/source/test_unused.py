"""BN002: which comments are reported as unused, and what the fix leaves of them."""

from __future__ import annotations

import pytest

from bnlint.finding import Finding
from bnlint.source.check import check_source, fix_source

STOP = "def f(x):\n    return x - x.mean().detach()"


def reported(source: str) -> list[tuple[int, int, str]]:
    found = [each for each in check_source(source.encode(), "a.py") if each.code == "BN002"]
    return [(f.location.line, f.location.column, source_at(source, f)) for f in found if f.location]


def source_at(source: str, finding: Finding) -> str:
    assert finding.location is not None
    line = source.splitlines()[finding.location.line - 1]
    return line[finding.location.column - 1 : finding.location.end_column - 1]


def fixed(source: str) -> str:
    return fix_source(source.encode(), "a.py", lambda finding: finding.code == "BN002").decode()


@pytest.mark.parametrize(
    "source",
    [
        f"{STOP}  # bnlint: ignore[BN101] why\n",
        f"{STOP}  # noqa: E501, BN101\n",
        f"# bnlint: ignore-file[BN101]\n{STOP}\n",
        "x = 1  # noqa\n",
        "x = 1  # noqa: E501, F401\n",
        "x = 1  # noqa: BNX1, ABN101\n",
        "x = 1  # bnlint: ignore[BN107] only a model can tell\n",
        "x = 1  # bnlint: ignore[BN101, BN002] on another branch\n",
        "# bnlint: ignore-file[BN002]\nx = 1  # bnlint: ignore[BN101]\n",
        "x = '# bnlint: ignore[BN101]'\n",
        "x = 1  # bnlint: ignores what it cannot see\n",
        "x = 1  # see `# bnlint: ignore`\n",
        "# bnlint: ignore-file[BN002]\nx = 1  # bnlint: ignore\n",
        "def helper(m):\n    return m.detach()  # bnlint: ignore[BN101] for whoever calls it\n",
        "def helper(x):\n    return x.mean(  # bnlint: ignore[BN102]\n    0)\n",
        "def helper(m):\n    return float(m)  # bnlint: ignore[BN104]\n",
        "# bnlint: ignore-file[BN103]\nx = 1\ny = x.data\n",
    ],
)
def test_silent(source: str) -> None:
    assert reported(source) == []


@pytest.mark.parametrize(
    ("source", "expected", "left"),
    [
        ("x = 1  # bnlint: ignore[BN101]\n", ["BN101"], "x = 1\n"),
        ("x = 1  # bnlint: ignore[BN101] why, and so on\n", ["BN101"], "x = 1\n"),
        ("x = 1\t# bnlint: ignore[bn101]", ["bn101"], "x = 1"),
        ("x = 1  # noqa: BN101\n", ["BN101"], "x = 1\n"),
        ("x = 1  # noqa: E501, BN101, F401 why\n", ["BN101"], "x = 1  # noqa: E501, F401 why\n"),
        ("x = 1  # noqa: BN101, E501\n", ["BN101"], "x = 1  # noqa: E501\n"),
        ("x = 1  # noqa: E501 BN101 F401\n", ["BN101"], "x = 1  # noqa: E501, F401\n"),
        ("x = 1  # noqa: BN101 2nd E2E test\n", ["BN101"], "x = 1\n"),
        ("x = 1  # bnlint: ignore[BN101, BN102]\n", ["BN101", "BN102"], "x = 1\n"),
        ("x = 1  # bnlint: ignore[ BN101 ,BN107 ] why\n", ["BN101"], "x = 1  # bnlint: ignore[ BN107 ] why\n"),
        ("x = 1  # bnlint: ignore[BN999]\n", ["BN999"], "x = 1\n"),
        ("x = 1  # type: ignore  # bnlint: ignore[BN101] why\n", ["BN101"], "x = 1  # type: ignore\n"),
        ("x = 1  # bnlint: ignore[BN101] why  # noqa: E501\n", ["BN101"], "x = 1  # noqa: E501\n"),
        ("# bnlint: ignore-file[BN101] why\nx = 1\n", ["BN101"], "x = 1\n"),
        ("if x:\n    # bnlint: ignore[BN101]\n    y\n", ["BN101"], "if x:\n    y\n"),
        ("x = 1\n# bnlint: ignore[BN101]", ["BN101"], "x = 1\n"),
        ("x = y.mean()  # bnlint: ignore[BN101] it was detached\n", ["BN101"], "x = y.mean()\n"),
        ("x = f(y)  # bnlint: ignore[BN999, BN001]\n", ["BN999", "BN001"], "x = f(y)\n"),
        ("x = float(y)  # bnlint: ignore[BN101] data\n", ["BN101"], "x = float(y)\n"),
        ("x = (  # detach\n  y)  # bnlint: ignore[BN101]\n", ["BN101"], "x = (  # detach\n  y)\n"),
        ("# bnlint: ignore[BN101]\r\nx = 1\r\n", ["BN101"], "x = 1\r\n"),
        (f"{STOP}  # bnlint: ignore[BN101, BN104] why\n", ["BN104"], f"{STOP}  # bnlint: ignore[BN101] why\n"),
        (f"# bnlint: ignore[BN101]\n{STOP}\n", ["BN101"], f"{STOP}\n"),
        ("x = 1  # bnlint: ignore[BN101]  # noqa: BN102\n", ["BN101", "BN102"], "x = 1\n"),
    ],
)
def test_reported_and_removed(source: str, expected: list[str], left: str) -> None:
    assert [text for _, _, text in reported(source)] == expected
    assert fixed(source) == left
    assert reported(left) == []


@pytest.mark.parametrize(
    "comment",
    [
        "# bnlint: ignore",
        "#bnlint:ignore",
        "# bnlint: ignore BN101",
        "# bnlint: ignore [BN101] why",
        "# bnlint: ignore[]",
        "# bnlint: ignore[detached-statistic]",
        "# bnlint: ignore-file",
        "# bnlint: disable=BN101",
        "# bnlint: noqa",
        "# BNLINT: Ignore[BN101]",
    ],
)
def test_a_comment_that_is_meant_to_suppress_and_does_not_is_told_and_left(comment: str) -> None:
    source = f"{STOP}  # type: ignore  {comment}\n"
    findings = check_source(source.encode(), "a.py")
    assert [finding.code for finding in findings] == ["BN101", "BN002"]
    assert "`# bnlint: ignore[BN101] reason`" in findings[1].message
    assert source_at(source, findings[1]) in comment
    assert fixed(source) == source


def test_a_code_like_none_is_not_likened_to_one() -> None:
    for code, said in (("BN1", "; the nearest is BN101"), ("E501", ""), ("BN999", "")):
        (finding,) = check_source(f"x = 1  # bnlint: ignore[{code}]\n".encode(), "a.py")
        assert finding.message == f"no rule has the code {code}{said}"


def test_a_comment_beside_the_one_that_works_is_used_too() -> None:
    assert reported(f"# bnlint: ignore-file[BN101]\n{STOP}  # bnlint: ignore[BN101]\n") == []


def test_the_nearest_rule_is_named_for_one_that_does_not_exist() -> None:
    (finding,) = check_source(b"x = 1  # bnlint: ignore[BN1011]\n", "a.py")
    assert "no rule has the code BN1011; the nearest is BN101" in finding.message
    assert finding.about is None


def test_findings_come_in_source_order() -> None:
    source = f"x = 1  # bnlint: ignore[BN101]\n{STOP}\ny = 1  # bnlint: ignore[BN101]\n"
    assert [finding.code for finding in check_source(source.encode(), "a.py")] == ["BN002", "BN101", "BN002"]


def test_bytes_outside_the_comment_stay() -> None:
    source = b"\xef\xbb\xbfs = '\xe5\xb9\xb3\x0c'  # bnlint: ignore[BN101]\r\nt = 1\n"
    assert fix_source(source, "a.py", lambda _: True) == b"\xef\xbb\xbfs = '\xe5\xb9\xb3\x0c'\r\nt = 1\n"
