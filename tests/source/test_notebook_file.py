"""An edit of a cell changes the strings that spell it and no other byte; nbformat and json tell what the file says."""

from __future__ import annotations

import json
from copy import deepcopy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notebooks import STYLES, Style, notebook, pieces, sources

from bnlint.finding import Edit, SourceLocation
from bnlint.source.notebook import edited
from bnlint.source.notebook_file import NotebookFile
from bnlint.source.text import SourceText

DOCUMENT = notebook("# é", "x = 1", "y = 'é/'")
HOLE = "0c0ffee-the-source-stands-here"
TEXTS = st.text(st.sampled_from('ab é"\\/\u2028😀\t\n\n\n#'), max_size=30)
#: of these characters none is spelled in two ways, so that json can write the file that is expected
STYLED = st.builds(
    Style,
    indent=st.sampled_from([None, 0, 1, "\t"]),
    ensure_ascii=st.booleans(),
    sort_keys=st.booleans(),
    separators=st.sampled_from([None, (",", ":"), (" , ", " :  ")]),
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    end=st.sampled_from(["", "\n"]),
)


def place(text: str, start: int, end: int) -> SourceLocation:
    """Lines and columns of two offsets."""
    (line, column), (end_line, end_column) = (
        (text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1) for at in (start, end)
    )
    return SourceLocation("nb.ipynb", line, column, end_line, end_column, cell=2)


@st.composite
def edits_of(draw: st.DrawFn, text: str) -> list[Edit]:
    """Edits that do not overlap."""
    ends = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pairs = dict.fromkeys(zip(ends[::2], ends[1::2], strict=False))
    return [Edit(place(text, *pair), draw(TEXTS)) for pair in pairs]


def apart(edits: list[Edit]) -> bool:
    """Whether something stays between each edit and the next."""
    places = [edit.location for edit in edits]
    return all((one.end_line, one.end_column) < (two.line, two.column) for one, two in pairwise(places))


@st.composite
def cases(draw: st.DrawFn) -> tuple[dict[str, Any], str, Any, list[Edit]]:
    """A document with a hole, the source that belongs there, how it is spelled, and edits of it."""
    text = draw(TEXTS)
    whole = draw(st.booleans())
    parts = text.split("\n")
    ends = [len("\n".join(parts[: n + 1])) + 1 for n in range(len(parts) - 1)]
    listed = [piece for piece in pieces(text, ends) if piece]
    if draw(st.booleans()):
        listed = list(pieces(text, draw(st.lists(st.integers(0, len(text)), max_size=4))))
    document = deepcopy(DOCUMENT)
    document["cells"][1]["source"] = HOLE
    return document, text, text if whole or not text else listed, draw(edits_of(text))


@given(cases(), STYLED)
@settings(max_examples=300, deadline=None)
def test_an_edit_changes_the_source_and_nothing_else(
    case: tuple[dict[str, Any], str, Any, list[Edit]], style: Style
) -> None:
    document, text, source, edits = case
    before, after = style.spelled(document).split(json.dumps(HOLE).encode())
    document["cells"][1]["source"] = source
    content = style.spelled(document)
    file = NotebookFile.of(content, "nb.ipynb")
    assert file.edited([]) == content
    result = file.edited(edits)
    assert result.startswith(before) and result.endswith(after)
    source_now = json.loads(result[len(before) : len(result) - len(after)])
    assert "".join(source_now) == edited(text, edits)
    assert isinstance(source_now, list) == isinstance(source, list)


@given(TEXTS.filter(bool), st.data(), st.sampled_from(list(STYLES)))
@settings(max_examples=200, deadline=None)
def test_a_list_of_lines_stays_one(text: str, data: st.DataObject, style: str) -> None:
    document = deepcopy(DOCUMENT)
    document["cells"][1]["source"] = lines(text)
    edits = data.draw(edits_of(text).filter(apart))
    result = NotebookFile.of(STYLES[style].spelled(document), "nb.ipynb").edited(edits)
    document["cells"][1]["source"] = lines(edited(text, edits))
    found = json.loads(result.decode("utf-8-sig"))
    # A last line that is emptied leaves an empty string, as it would in an editor of the file.
    found["cells"][1]["source"] = [line for line in found["cells"][1]["source"] if line]
    assert found == document


def lines(text: str) -> list[str]:
    listed = [f"{line}\n" for line in text.split("\n")]
    listed[-1] = listed[-1][:-1]
    return [line for line in listed if line]


@pytest.mark.parametrize("style", STYLES)
def test_the_file_is_what_its_own_writer_would_make_of_the_new_source(style: str) -> None:
    """Where a file is spelled in one way, the edited one is too."""
    document = notebook("# é", 'a = "é"\nb = 2\nc = 3', "y")
    content = STYLES[style].spelled(document)
    where = SourceLocation("nb.ipynb", 2, 1, 3, 1, cell=2)
    ascii_cell = SourceLocation("nb.ipynb", 1, 2, 1, 2, cell=3)
    edits = [Edit(where, 'd = "é"\ne = 4\n'), Edit(ascii_cell, "  # é")]
    result = NotebookFile.of(content, "nb.ipynb").edited(edits)
    document["cells"][2]["source"] = ["y  # é"]
    document["cells"][1]["source"] = ['a = "é"\n', 'd = "é"\n', "e = 4\n", "c = 3"]
    assert result == STYLES[style].spelled(document)
    assert sources(result)[1] == 'a = "é"\nd = "é"\ne = 4\nc = 3'


def test_other_spellings_of_characters_stay() -> None:
    content = (
        b'{"nbformat": 4, "nbformat_minor": 4, "metadata": {"a": "\\/"}, "cells": [{"cell_type": "code", '
        b'"metadata": {}, "outputs": [], "execution_count": null, '
        b'"source": "a = \\u0022\\/\\u00E9\\uD83D\\ude00\\u0022 + b"}]}'
    )
    where = SourceLocation("nb.ipynb", 1, 13, 1, 14, cell=1)
    file = NotebookFile.of(content, "nb.ipynb")
    assert file.edited([Edit(where, '"é"')]) == content.replace(b" + b", b' + \\"\\u00e9\\"')
    assert content.decode()[file.at(where).column - 1 : file.at(where).end_column - 1] == "b"


@given(TEXTS.filter(bool), st.data(), STYLED)
@settings(max_examples=100, deadline=None)
def test_a_place_in_a_cell_is_found_in_the_file(text: str, data: st.DataObject, style: Style) -> None:
    document = deepcopy(DOCUMENT)
    document["cells"][1]["source"] = lines(text)
    content = style.spelled(document)
    start = data.draw(st.integers(0, len(text) - 1))
    file = NotebookFile.of(content, "nb.ipynb")
    where = file.at(place(text, start, start + 1))
    spelled = SourceText.of(content.decode("utf-8-sig")).at(where)
    assert json.loads(f'"{spelled}"') == text[start]
