from __future__ import annotations

import pytest

from bnlint.finding import Finding, ModuleLocation, Severity, SourceLocation
from bnlint.source.suppress import suppressed


def found(line: int, code: str = "BN101") -> Finding:
    return Finding(code, "name", Severity.ERROR, "message", SourceLocation("a.py", line, 1, line, 2))


def kept(source: str, line: int, code: str = "BN101") -> bool:
    finding = found(line, code)
    return suppressed(source, [finding]) == [finding]


@pytest.mark.parametrize(
    "comment",
    [
        "# bnlint: ignore[BN101]",
        "# bnlint: ignore[BN101] frozen on purpose",
        "#bnlint:ignore[BN101]",
        "# bnlint: ignore[BN102, BN101]",
        "# bnlint: ignore[ BN102 ,BN101 ] reason",
        "# bnlint: ignore[bn101]",
        "# type: ignore  # bnlint: ignore[BN101]",
        "# noqa: BN101",
        "# NOQA:BN101",
        "# noqa: E501, BN101 reason",
        "# noqa: E501 BN101",
        "# noqa: BN101 F401, E501",
        "# noqa: E501  # bnlint: ignore[BN101]",
    ],
)
def test_comment_suppresses_its_codes_on_its_line_only(comment: str) -> None:
    source = f"a = 1\nm = m.detach()  {comment}\nb = 1\n"
    assert not kept(source, 2)
    assert kept(source, 1) and kept(source, 3)
    assert kept(source, 2, "BN103")


@pytest.mark.parametrize(
    "comment",
    [
        "# bnlint: ignore",
        "# bnlint: ignore[]",
        "# bnlint: ignore BN101",
        "# bnlint: ignore[BN1]",
        "# bnlint: ignore[BN1011]",
        "# bnlint: ignore[ALL]",
        "# bnlint: ignored[BN101]",
        "# noqa",
        "# noqa:",
        "# noqa: because BN101",
        "# noqa: E501",
        "# flake8: noqa: BN101",
        "# ruff: ignore[BN101]",
    ],
)
def test_comment_without_the_code_suppresses_nothing(comment: str) -> None:
    assert kept(f"m = m.detach()  {comment}\n", 1)


@pytest.mark.parametrize(("at", "holds"), [(2, True), (3, False), (4, False), (5, True), (1, False), (6, False)])
@pytest.mark.parametrize("line", [2, 3, 4, 5])
def test_statement_of_several_lines_is_suppressed_at_its_ends(at: int, holds: bool, line: int) -> None:
    lines = ["a = 1", "m = (", "    x", "    .mean().detach()", ")", "b = 1"]
    lines[at - 1] += "  # bnlint: ignore[BN101]"
    assert kept("\n".join(lines), line) is not holds


def test_comment_on_a_header_does_not_reach_the_body() -> None:
    source = "with torch.no_grad():  # bnlint: ignore[BN101]\n    m = x.mean()\n"
    assert not kept(source, 1)
    assert kept(source, 2)


def test_comment_lines_between_statements_belong_to_none() -> None:
    source = "# bnlint: ignore[BN101]\nm = m.detach()\n\n    # bnlint: ignore[BN101]\n"
    assert kept(source, 2)


@pytest.mark.parametrize(
    "source",
    [
        's = "# bnlint: ignore[BN101]"; m = m.detach()\n',
        's = """\n# bnlint: ignore-file[BN101]\n"""; m = m.detach()\n',
        "s = '# noqa: BN101'; m.detach()\n",
        "s = f'# noqa: BN101'; m.detach()\n",
    ],
)
def test_text_in_a_string_is_no_comment(source: str) -> None:
    assert kept(source, 1) and kept(source, 3)


def test_string_over_several_lines_is_one_statement() -> None:
    source = 'f("""\n\n""", m.detach())  # bnlint: ignore[BN101]\n'
    assert not kept(source, 1) and not kept(source, 3)


@pytest.mark.parametrize("place", ["# X\nm = m.detach()\n", "def f():\n    pass\n    # X\n", "x = 1  # X reason\n\n\n"])
def test_ignore_file_holds_for_every_line(place: str) -> None:
    source = place.replace("X", "bnlint: ignore-file[BN101]")
    assert not any(kept(source, line) for line in range(1, 9))
    assert kept(source, 2, "BN102")
    located_nowhere = Finding("BN101", "n", Severity.ERROR, "m", module=ModuleLocation("bn", "Norm"))
    assert suppressed(source, [located_nowhere]) == []


def test_finding_without_location_is_kept() -> None:
    located_nowhere = Finding("BN101", "n", Severity.ERROR, "m", module=ModuleLocation("bn", "Norm"))
    assert suppressed("x = 1  # bnlint: ignore[BN101]\n", [located_nowhere]) == [located_nowhere]


@pytest.mark.parametrize(
    "source",
    [
        "m = m.detach()  # bnlint: ignore[BN101]\n(",
        "m = m.detach()  # bnlint: ignore[BN101]\nx = '''",
        "if x:\n        m = m.detach()  # bnlint: ignore[BN101]\n    y\n",
    ],
)
def test_file_that_cannot_be_tokenized_has_no_suppressions(source: str) -> None:
    assert kept(source, 1) and kept(source, 2)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_newlines_of_every_kind(newline: str, start: str) -> None:
    source = start + newline.join(["a = 1", "b = '\\\x0c\u2028'", "m = m.detach()  # bnlint: ignore[BN101]"])
    assert not kept(source, 3)
    assert kept(source, 2)


def test_order_is_kept() -> None:
    findings = [found(3), found(1), found(2), found(1, "BN102")]
    assert suppressed("a\nb  # noqa: BN101\nc\n", findings) == [findings[0], findings[1], findings[3]]
    assert suppressed("a\n", findings) == findings
