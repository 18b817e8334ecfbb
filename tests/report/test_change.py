from __future__ import annotations

import pytest

from bnlint.report.change import Changed, changes

TEXT = "a\nb\nc\nd\n"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (TEXT, TEXT, []),
        (TEXT, "a\nB\nc\nd\n", [Changed(2, False, "b"), Changed(2, True, "B")]),
        (TEXT, "a\nc\nd\n", [Changed(2, False, "b")]),
        (TEXT, "a\nb\nx\nc\nd\n", [Changed(3, True, "x")]),
        (
            TEXT,
            "A\nb\nc\nD\n",
            [Changed(1, False, "a"), Changed(1, True, "A"), Changed(4, False, "d"), Changed(4, True, "D")],
        ),
        ("a\na\na\n", "a\na\n", [Changed(3, False, "a")]),
        ("x", "", [Changed(1, False, "x"), Changed(1, True, "")]),
        ("a\x0cb\r\nc", "a\x0cb\r\nd", [Changed(2, False, "c"), Changed(2, True, "d")]),
    ],
)
def test_changes(before: str, after: str, expected: list[Changed]) -> None:
    assert changes(before, after) == expected


def test_a_long_change_is_not_listed() -> None:
    assert changes("a\n" * 20, "b\n" * 20) == []


def test_a_change_in_a_long_file_is_found_where_it_is() -> None:
    lines = [f"line {number}" for number in range(20_000)]
    text = "\n".join(lines)
    assert changes(text, text.replace("line 9999\n", "line x\n")) == [
        Changed(10_000, False, "line 9999"),
        Changed(10_000, True, "line x"),
    ]
