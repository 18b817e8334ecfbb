"""Programs as strategies: real shapes of code, spelled and spoiled in every way that files are."""

from __future__ import annotations

import codecs
import re

from hypothesis import strategies as st
from shapes import MEANT, RIGHT, STOPPED

SHAPES = sorted({*STOPPED.values(), *MEANT.values(), *RIGHT.values()})
#: what stands somewhere in a line of a file, and is easily lost or misread
PIECES = st.sampled_from(
    [
        *("\t", "\x0c", "\x0b", "\x00", "\\\n", ";", " ", "\u00a0"),
        *("\u2028", "\x85", "\ufeff", "\r", "\r\n", "\n\n", "#", "'''"),
        *("é", "ﬁ", "名", "😀", "\ud800", "'", '"', "(", ")", "["),
        *("]", "{", "}", ":", ":=", "*", "**", "@", "->", ",", "."),
        *(" if x else y", "lambda: ", "await ", "async ", "yield "),
        *("not ", "*x, ", "f'{x!r:>{y}}'", "rb'\\x'", "0_0", "1e400"),
        *(".detach()", ".mean()", "torch.no_grad()"),
        *(".item()", "self.running_mean", "# bnlint: ignore[BN101] é\n"),
        *("with torch.no_grad(): ", "\nelse:\n", "\nexcept* E:\n"),
        *("\nmatch x:\n", " case _: ", "type X[T] = int\n", "\nclass A[T]: pass\n"),
        *("\nif x:\n\tpass\n", "\n\x0cdef f(): pass\n", "x = (\n", "%time "),
        *("!ls\n", "global m\n", "nonlocal m\n", "del m\n", "print 'm'\n"),
        *("# -*- coding: latin-1 -*-\n", "# coding: utf-16\n"),
        *("# vim: set fileencoding=cp1252 :\n", "# coding: rot13\n"),
    ]
)  # fmt: skip
ENCODINGS = st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-be", "shift_jis"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A shape of code, or several, with pieces put in, parts taken out, lines swapped and indented otherwise."""
    text = "\n\n".join(draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=2)))
    if draw(st.booleans()):
        text = re.sub(
            r"^( {4})+", lambda found: draw(st.sampled_from(["\t", "  "])) * (len(found[0]) // 4), text, flags=re.M
        )
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["put", "put", "take", "swap", "double"])):
            case "put":
                text = text[:at] + draw(PIECES) + text[at:]
            case "take":
                text = text[:at] + text[at + draw(st.integers(1, 12)) :]
            case "swap":
                lines = text.split("\n")
                one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
                lines[one], lines[other] = lines[other], lines[one]
                text = "\n".join(lines)
            case _:
                lines = text.split("\n")
                number = draw(st.integers(0, len(lines) - 1))
                text = "\n".join([*lines[: number + 1], *lines[number:]])
    return text


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """The bytes of a file that holds such a text."""
    text = draw(texts())
    newline = draw(st.sampled_from(["\n", "\n", "\r\n", "\r"]))
    encoding = draw(ENCODINGS)
    if draw(st.booleans()):
        text = f"# coding: {encoding}\n{text}"
    content = text.replace("\n", newline).encode(encoding, draw(st.sampled_from(["replace", "ignore"])))
    if draw(st.integers(0, 9)) == 0:
        content = codecs.BOM_UTF8 + content
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(content)))
        content = content[:at] + draw(st.binary(max_size=4)) + content[at:]
    return content
