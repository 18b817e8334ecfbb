"""Notebooks: a fix and a comment change the strings of the cells that they are about, and no other byte."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st
from notebooks import BAD, Style
from spoiled import PIECES

from bnlint.errors import BnlintError
from bnlint.finding import Finding
from bnlint.source.document import diff, fix, ignoring, inspect

CELLS = st.sampled_from(
    [
        *(BAD, BAD, "import torch\nfrom torch import nn", "x = 1"),
        *("", "%matplotlib inline\nm = y.mean()", "!ls", "%%bash\nls"),
        "class N(nn.Module):\n    def forward(self, x):\n        m = x.mean(0).detach()\n        return x - m",
        "m.detach_()",
        *("with torch.no_grad():\n    m = y.mean(0)", "z = y - m"),
        *("%time z = y - y.mean().detach()", "f?", "s = '''é\n'''"),
        *("x = 1  # bnlint: ignore[BN101] gone", "# bnlint: ignore-file[BN102]"),
        *("def g(x):\n\treturn x / x.std().item()", "(", ";"),
    ]
)  # fmt: skip
PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=4), inner, max_size=2)),
    max_leaves=4,
)
STYLES = st.builds(
    Style,
    indent=st.sampled_from([None, 1, "\t"]),
    ensure_ascii=st.booleans(),
    sort_keys=st.booleans(),
    separators=st.sampled_from([None, (",", ":"), (" , ", " :  ")]),
    newline=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
    end=st.sampled_from(["", "\n"]),
)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    cells: list[dict[str, Any]] = []
    for text in draw(st.lists(CELLS, min_size=1, max_size=5)):
        spoiled = text + draw(PIECES) if draw(st.integers(0, 5)) == 0 else text
        source: object = spoiled
        if draw(st.booleans()):
            source = spoiled.splitlines(keepends=True)
        kind = draw(st.sampled_from(["code", "code", "code", "markdown", "raw"]))
        cell = {"cell_type": kind, "metadata": draw(PLAIN), "source": source, "id": draw(st.text(max_size=3))}
        if kind == "code":
            cell |= {"outputs": draw(PLAIN), "execution_count": draw(st.one_of(st.none(), st.integers(0, 9)))}
        cells.append(cell)
    return {"cells": cells, "metadata": draw(PLAIN), "nbformat": 4, "nbformat_minor": draw(st.sampled_from([2, 5]))}


def all_of(_: Finding) -> bool:
    return True


def sources_of(content: bytes) -> list[object]:
    return [cell["source"] for cell in json.loads(content.decode("utf-8-sig", "surrogatepass"))["cells"]]


def spelled(document: dict[str, Any], style: Style) -> bytes | None:
    try:
        return style.spelled(document)
    except UnicodeEncodeError:  # a lone surrogate
        return None


@tried(60)
@given(documents(), STYLES)
def test_only_the_sources_of_cells_change(document: dict[str, Any], style: Style) -> None:
    content = spelled(document, style)
    if content is None:
        return
    found = inspect(content, "nb.ipynb").findings
    fixed = fix(content, "nb.ipynb", all_of)
    fixable = [each for each in found if each.fix is not None and each.fix.safe]
    assert fixed == content or fixable
    assert fix(fixed, "nb.ipynb", all_of) == fixed
    diff(content, fixed, "nb.ipynb")
    results = [fixed]
    own = [each for each in found if each.code not in ("BN001", "BN002")]
    if own:
        with suppress(BnlintError):  # it says so
            results.append(ignoring(content, "nb.ipynb", own, "meant"))
    for result in results:
        cells = [cell | {"source": source} for cell, source in zip(document["cells"], sources_of(result), strict=True)]
        changed = [new for new, old in zip(cells, document["cells"], strict=True) if new != old]
        assert all(cell["cell_type"] == "code" for cell in changed)
        assert style.spelled(document | {"cells": cells}) == result


@tried(60)
@given(documents(), STYLES, st.data())
def test_a_damaged_notebook_is_answered(document: dict[str, Any], style: Style, data: st.DataObject) -> None:
    content = bytearray(spelled(document, style) or b"{}")
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.one_of(
                st.binary(max_size=3),
                st.sampled_from([b"null", b"[]", b"{}", b"3", b'"', b"\\u0000", b"\\ud800", b","]),
            )
        )
    found = inspect(bytes(content), "nb.ipynb").findings
    fixed = fix(bytes(content), "nb.ipynb", all_of)
    assert fix(fixed, "nb.ipynb", all_of) == fixed
    if not any(each.fix is not None for each in found):
        assert fixed == content
