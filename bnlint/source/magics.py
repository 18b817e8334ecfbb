"""What IPython adds to Python, and the check passes over: magics, shell lines, questions, calls without parentheses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bnlint.source.text import LINE_ENDS

#: magics of a whole cell whose body is Python of the same notebook; of others nothing is known
PYTHON = frozenset(
    {"capture", "debug", "heat", "ipytest", "memit", "mprun", "prun", "pyinstrument", "scalene", "time", "timeit"}
)
_OF_CELL = re.compile(r"\s*^%%(?P<name>[\w.]+)[^\r\n]*", re.MULTILINE)
_OF_LINE = re.compile(r"[ \t\f]*(?=[%!?,;/])")
_REST = re.compile(r"(?:[^\r\n\\]|\\(?:\r\n|\r|\n)|\\)*")
_ASSIGNED = re.compile(r"(?<![=!<>:+\-*/%&|^@])=[ \t]*(?=[%!])")
_STRING = "|".join(
    rf"{quote}(?:\\[\s\S]|{inside})*?{quote}"
    for quote, inside in (('"""', r"[^\\]"), ("'''", r"[^\\]"), ('"', r'[^"\\\r\n]'), ("'", r"[^'\\\r\n]"))
)
_TOKEN = re.compile(
    rf"(?P<string>{_STRING})|(?P<comment>\#[^\r\n]*)|(?P<open>[(\[{{])|(?P<close>[)\]}}])"
    r"|(?P<joined>\\(?:\r\n|\r|\n))|(?P<end>\r\n|\r|\n)|(?P<space>[ \t\f]+)|(?P<assigned>" + _ASSIGNED.pattern + r")"
    r"|(?P<other>[^\"'\#(\[{)\]}\\\r\n \t\f=]+|.)"
)


@dataclass(frozen=True, slots=True)
class _Passage:
    """Characters that are not Python, and what stands for them."""

    start: int
    end: int
    instead: str


def without_magics(cell: str) -> str | None:
    """Return a cell as Python: lines keep their numbers, and what is Python its columns.

    A magic becomes `pass`, and what one gives back a call that nothing is known of. None where the cell as a whole is
    for another program, such as `%%bash`.
    """
    of_cell = _OF_CELL.match(cell)
    if of_cell is not None and of_cell["name"] not in PYTHON:
        return None
    pieces: list[str] = []
    done = 0
    if of_cell is not None:
        first = cell.index("%%")
        pieces, done = [cell[:first], "pass"], of_cell.end()
    for passage in _passages(cell, done):
        ends = "".join(LINE_ENDS.findall(cell, passage.start, passage.end))
        pieces += [cell[done : passage.start], passage.instead, ends]
        done = passage.end
    return "".join([*pieces, cell[done:]])


def _passages(cell: str, at: int) -> Iterator[_Passage]:
    """Go through the logical lines of a cell."""
    while at < len(cell):
        escaped = _OF_LINE.match(cell, at)
        if escaped is not None:
            rest = _REST.match(cell, escaped.end())
            at = rest.end() if rest is not None else len(cell)
            yield _Passage(escaped.end(), at, "pass")
        passage, at = _logical_line(cell, at)
        if passage is not None:
            yield passage


def _logical_line(cell: str, start: int) -> tuple[_Passage | None, int]:
    """Follow one logical line; return what of it is not Python, and where the next one starts."""
    at, depth = start, 0
    first, last = -1, ""
    for token in _TOKEN.finditer(cell, start):
        at = token.end()
        kind = token.lastgroup
        if kind == "end" and depth == 0:
            break
        if kind == "assigned" and depth == 0:
            rest = _REST.match(cell, at)
            end = rest.end() if rest is not None else len(cell)
            return _Passage(at, end, "get_ipython()"), end
        if kind not in {"end", "space", "joined"}:
            first = token.start() if first < 0 else first
            last = "" if kind == "comment" else token[0]
        depth += (kind == "open") - (kind == "close")
    else:
        at = len(cell)
    if last.endswith("?"):
        end = at - len(cell[first:at]) + len(cell[first:at].rstrip())
        return _Passage(first, end, "pass"), at
    return None, at
