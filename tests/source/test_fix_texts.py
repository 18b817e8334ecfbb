"""Fixes among comments, empty lines, newlines, indentations and encodings of every kind."""

from __future__ import annotations

import ast
import io
import tokenize

from fixing import method
from hypothesis import given, settings
from hypothesis import strategies as st
from snippets import about_gradients
from test_edits import EXACT
from test_fixes_live import ALL

from bnlint.source.check import fix_source

BODIES = [before for before, _ in (ALL | EXACT).values() if "\\\n" not in before]
#: lines that a fix may take away, comment and all
GONE = ("with ", "@torch", "set_grad_enabled", ".detach_()")


def comments(text: str) -> list[str]:
    return sorted(t.string for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT)


def endings(text: str) -> list[int]:
    """The lines behind which a comment may stand: no line that ends inside a string or has one already."""
    inside = {
        line
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type == tokenize.STRING
        for line in range(token.start[0], token.end[0])
    }
    lines = enumerate(text.splitlines(), 1)
    return [number for number, line in lines if number not in inside and "#" not in line]


@st.composite
def sources(draw: st.DrawFn) -> tuple[str, set[str]]:
    """A module with comments and empty lines sown over it, and the comments that have to stay."""
    text = method(draw(st.sampled_from(BODIES)))
    lines, stay = text.splitlines(), set()
    for number in draw(st.sets(st.sampled_from(endings(text)), max_size=6)):
        comment = f"# c{number} é"
        lines[number - 1] += f"  {comment}"
        if not any(word in lines[number - 1] for word in GONE):
            stay.add(comment)
    return "\n".join(lines) + "\n", stay


@settings(max_examples=120, deadline=None)
@given(
    sources(),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["    ", "\t", "  "]),
    st.sampled_from(["utf-8", "utf-8-sig", "latin-1"]),
)
def test_comments_newlines_and_encodings_survive(
    source: tuple[str, set[str]], newline: str, indent: str, encoding: str
) -> None:
    text, stay = source
    head = "# -*- coding: latin-1 -*-\n" if encoding == "latin-1" else ""
    plain = (head + text).replace("    ", indent)
    before = plain.replace("\n", newline).encode(encoding)

    after = fix_source(before, "a.py", lambda _: True)

    assert fix_source(after, "a.py", lambda _: True) == after
    assert after.startswith(before[:3])
    decoded = after.decode(encoding)
    assert decoded.count("\n") + decoded.count("\r") == decoded.count(newline) * len(newline)
    mended = decoded.replace(newline, "\n")
    ast.parse(mended)
    assert stay <= set(comments(mended))
    assert set(comments(mended)) <= set(comments(plain))
    # A comment inside a call that would go makes a fix impossible: then nothing is offered.
    assert all(finding.fix is None for finding in about_gradients(mended))
