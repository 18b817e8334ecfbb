from __future__ import annotations

import pytest

from bnlint.finding import Edit, SourceLocation
from bnlint.source.text import SourceText, apply


def at(line: int, column: int, end_line: int, end_column: int) -> SourceLocation:
    return SourceLocation("a.py", line, column, end_line, end_column)


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"x = 1",
        b"x = 1\n",
        b"x = 1\r\ny = 2\r\n",
        b"x = 1\ry = 2\r",
        b"\xef\xbb\xbfx = 1\n",
        "# -*- coding: latin-1 -*-\nx = 'é'\n".encode("latin-1"),
        "# coding: cp1252\nx = '€'\n".encode("cp1252"),
        "x = 'größe 😀'\n".encode(),
        b"\xef\xbb\xbf# coding: utf-8\r\nx = 1\r\n",
        b"x = '\x0c'\x0c\n\x0cy = 1\n",
    ],
)
def test_what_is_decoded_encodes_to_the_same_bytes(source: bytes) -> None:
    text = SourceText.decode(source)
    assert text.encode(text.text) == source


@pytest.mark.parametrize("source", [b"# coding: nonsense\n", b"x = '\xff'\n", b"\xef\xbb\xbf# coding: latin-1\n"])
def test_what_cannot_be_decoded_says_so(source: bytes) -> None:
    with pytest.raises((SyntaxError, UnicodeDecodeError)):
        SourceText.decode(source)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_and_columns_count_from_one_in_characters(newline: str) -> None:
    text = SourceText.decode(f"é = 'größe'{newline}y = é{newline}".encode())
    assert text.at(at(1, 1, 1, 2)) == "é"
    assert text.at(at(2, 1, 2, 6)) == "y = é"
    assert text.at(at(1, 5, 2, 2)) == f"'größe'{newline}y"


def test_a_form_feed_ends_no_line() -> None:
    text = SourceText.decode(b"a\x0c\x0b\x1c = 1\nb = 2\n")
    assert text.at(at(2, 1, 2, 2)) == "b"


@pytest.mark.parametrize("separator", ["\x85", "\u2028", "\u2029"])
def test_a_unicode_line_separator_ends_no_line_of_python(separator: str) -> None:
    text = SourceText.decode(f"a = '{separator}'\nb = 2\n".encode())
    assert text.at(at(2, 1, 2, 2)) == "b"


def edited(source: str, *edits: tuple[tuple[int, int, int, int], str]) -> str:
    text = SourceText.decode(source.encode())
    return apply(text, [Edit(at(*where), replacement) for where, replacement in edits])


def test_edits_are_made_in_any_order() -> None:
    first, second = ((1, 1, 1, 2), "A"), ((2, 1, 2, 2), "B")
    assert edited("a\nb\n", first, second) == edited("a\nb\n", second, first) == "A\nB\n"


def test_an_edit_given_twice_is_made_once() -> None:
    assert edited("a\n", ((1, 2, 1, 2), "!"), ((1, 2, 1, 2), "!")) == "a!\n"


def test_of_two_that_overlap_the_first_wins() -> None:
    assert edited("abcd\n", ((1, 1, 1, 4), "X"), ((1, 2, 1, 5), "Y")) == "Xd\n"


def test_insertions_at_the_ends_of_a_replacement_are_kept() -> None:
    assert edited("abc\n", ((1, 1, 1, 1), "("), ((1, 4, 1, 4), ")")) == "(abc)\n"


def test_no_edit_no_change() -> None:
    assert edited("a\r\nb") == "a\r\nb"
