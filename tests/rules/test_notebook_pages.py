"""The Bad blocks of the rule pages as notebooks: one cell for each statement, with magics and text between them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from blocks import Example, examples, has_a_safe_fix, told
from notebooks import sources, written

from bnlint.finding import Finding
from bnlint.source.check import check_source, fix_source
from bnlint.source.document import fix, inspect

BAD = list(examples("Bad"))
MAGIC = "%matplotlib inline\nfiles = !ls"


def cells(code: str) -> list[str]:
    """The imports in one cell, and each other statement in a cell of its own; what does not parse stays together."""
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return [code.strip("\n")]
    starts = [min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))]) for node in body]
    kept = [
        start
        for start, node, before in zip(starts, body, [None, *body], strict=False)
        if before is None or not isinstance(node, ast.Import | ast.ImportFrom)
    ]
    lines = code.splitlines(keepends=True)
    ends = [start - 1 for start in kept[1:]] + [len(lines)]
    begins = [0, *ends[:-1]]
    return ["".join(lines[a:b]).strip("\n") for a, b in zip(begins, ends, strict=True)]


def between(code: str) -> Iterator[str]:
    for cell in cells(code):
        yield from (MAGIC, "# Text", "%%bash\nmean().detach(", f"%%time\n{cell}", "torch?")


def code_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def facts(findings: list[Finding]) -> list[tuple[object, ...]]:
    """What is told of findings, but for where they are."""
    return [
        (f.code, f.message, f.symbol, f.statistic, f.stop, tuple((m.role, m.text) for m in f.marks), f.fix is not None)
        for f in findings
    ]


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_same_is_found_in_the_same_lines(bad: Example) -> None:
    content = written(*between(bad.block.code))
    findings = told(bad.page, list(inspect(content, "nb.ipynb").findings))
    plain = told(bad.page, check_source(bad.block.code.encode(), "page.py"))
    listed = sources(content)
    lines = bad.block.code.splitlines()

    assert facts(findings) == facts(plain)
    for here, there in zip(findings, plain, strict=True):
        for at, of in zip((here, *here.marks), (there, *there.marks), strict=True):
            assert at.location is not None and at.location.cell is not None and of.location is not None
            cell = listed[at.location.cell - 1].splitlines()
            assert cell[at.location.line - 1] == lines[of.location.line - 1]
            assert at.location.column == of.location.column


@pytest.mark.parametrize("bad", BAD, ids=str)
def test_the_fixed_cells_are_the_fixed_block(bad: Example) -> None:
    for unsafe in (False, True):
        fixed = fix_source(bad.code.encode(), "page.py", lambda _: True, unsafe=unsafe).decode()
        content = fix(written(*between(bad.code)), "nb.ipynb", lambda _: True, unsafe=unsafe)
        after = sources(content)

        assert code_of("\n".join(cell.removeprefix("%%time\n") for cell in after[3::5])) == code_of(fixed)
        assert fixed == bad.fixed or unsafe or not has_a_safe_fix(bad)
        assert [after[n::5] for n in (0, 1, 2, 4)] == [
            [text] * len(cells(bad.code)) for text in (MAGIC, "# Text", "%%bash\nmean().detach(", "torch?")
        ]
        assert not any(cell.endswith("\n") for cell in after)


def test_some_fix_changes_several_cells() -> None:
    """Otherwise the test above would not see an import that is put into the wrong cell."""
    changed: list[int] = []
    for bad in BAD:
        before = written(*between(bad.code))
        after = fix(before, "nb.ipynb", lambda _: True, unsafe=True)
        changed.append(sum(a != b for a, b in zip(sources(before), sources(after), strict=True)))
    assert max(changed) > 1
