"""Docstrings and comments, which speak of code without being any."""

from __future__ import annotations

import re

_QUOTES = re.compile(r"\"\"\"|'''")
_COMMENT = re.compile(r"#[^\n]*")


def without_prose(text: str) -> str:
    """Return the text with blanks for strings that may go over several lines, and for comments; offsets stay.

    Where patterns cannot tell, the text stays as it is.
    """
    regions = _strings(text)
    pieces: list[str] = []
    done = 0
    for start, end in regions:
        pieces += [text[done:start], "\n".join(" " * len(line) for line in text[start:end].split("\n"))]
        done = end
    text = "".join([*pieces, text[done:]])
    return _COMMENT.sub(_blank, text) if "#" in text else text


def _strings(text: str) -> list[tuple[int, int]]:
    """Find the strings in three quotes."""
    found: list[tuple[int, int]] = []
    opened, start = "", 0
    for match in _QUOTES.finditer(text):
        if not opened and not _is_no_string(text, match.start()):
            opened, start = match[0], match.start()
        elif opened == match[0]:
            found.append((start, match.end()))
            opened = ""
    return [] if opened else found  # taken for one that is none: better to see too much than to miss something


def _is_no_string(text: str, place: int) -> bool:
    """Whether three quotes are in a comment, or in a string of one line themselves."""
    before = text[text.rfind("\n", 0, place) + 1 : place]
    return before.endswith(("'", '"')) or ("#" in before and not {"'", '"'} & set(before))


def _blank(comment: re.Match[str]) -> str:
    text, start = comment.string, comment.start()
    before = text[text.rfind("\n", 0, start) + 1 : start]
    in_string = "'" in before or '"' in before
    return comment[0] if in_string else " " * len(comment[0])
