"""Positions, changes and edits, against a reading of the protocol that walks from unit to unit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol.types import Position, PositionEncodingKind, Range, TextDocumentContentChangePartial, TextEdit

from bnlint.finding import SourceLocation
from bnlint.server.documents import Document
from bnlint.server.lines import Lines, changed, edits

TEXTS = st.text("ab\t😀é\r\n\f\u2028", max_size=20)
ENCODINGS = st.sampled_from(PositionEncodingKind)
BYTES = {"utf-8": 1, "utf-16": 2, "utf-32": 4}


def positions(text: str, encoding: str) -> list[Position]:
    """The position before each character and at the end; none is inside of a line end."""
    found, row, units = [], 0, 0
    for index, character in enumerate(text):
        found.append(Position(row, units))
        ends = character == "\n" or (character == "\r" and text[index + 1 : index + 2] != "\n")
        if ends:
            row, units = row + 1, 0
        elif character != "\r":
            units += len(character.encode(f"{encoding}-le".replace("utf-8-le", "utf-8"))) // BYTES[encoding]
    return [*found, Position(row, units)]


def offset(text: str, position: Position, encoding: str) -> int:
    return positions(text, encoding).index(position)


def after(text: str, made: list[TextEdit], encoding: str) -> str:
    for edit in sorted(made, key=lambda each: (each.range.start.line, each.range.start.character), reverse=True):
        start, end = (offset(text, place, encoding) for place in (edit.range.start, edit.range.end))
        text = text[:start] + edit.new_text + text[end:]
    return text


@given(TEXTS, ENCODINGS)
def test_a_position_is_where_the_editor_has_it(text: str, encoding: PositionEncodingKind) -> None:
    lines = Lines.of(text, encoding)
    for index, position in enumerate(positions(text, encoding.value)):
        if text[index - 1 : index + 1] != "\r\n":
            assert lines.offset(position) == index
            assert lines.position(position.line, index - lines.starts[position.line]) == position


@given(TEXTS, TEXTS, ENCODINGS)
def test_edits_turn_one_text_into_the_other(before: str, wanted: str, encoding: PositionEncodingKind) -> None:
    assert after(before, edits(before, wanted, encoding), encoding.value) == wanted


@given(st.data(), TEXTS, ENCODINGS, st.text("a😀\n", max_size=3))
def test_a_change_is_made_where_it_is_told(
    data: st.DataObject, text: str, encoding: PositionEncodingKind, new: str
) -> None:
    places = positions(text, encoding.value)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    where = Range(places[start], places[end])
    told = TextDocumentContentChangePartial(where, new)
    assert changed(text, [told], encoding) == after(text, [TextEdit(where, new)], encoding.value)


def test_what_lies_beyond_the_text_is_its_end() -> None:
    lines = Lines.of("a\nbc")
    assert lines.range(SourceLocation("f.py", 2, 9, 7, 1)) == Range(Position(1, 2), Position(1, 2))
    assert lines.offset(Position(9, 0)) == lines.offset(Position(1, 99)) == 4


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("x = 'é'\n", "x = 'é'\n".encode()),
        ("# coding: latin-1\nx = 'é😀'\n", "# coding: latin-1\nx = 'é?'\n".encode("latin-1")),
        ("# coding: nonsense\nx = 'é'\n", "# coding: nonsense\nx = 'é'\n".encode()),
        ("x = '\ud800'\n", b"x = '?'\n"),
    ],
)
def test_an_open_file_has_the_bytes_that_it_would_be_saved_as(text: str, content: bytes) -> None:
    assert Document("file:///f.py", Path("/f.py"), 1, text).content == content
