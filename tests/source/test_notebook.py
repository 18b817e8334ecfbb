"""Notebooks in the static check: cells as one module, places as cell and line, fixes in the strings of the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from notebooks import BAD, FIXED, STYLES, Style, notebook, sources, written

from bnlint.catalog import BY_CODE
from bnlint.finding import Edit, Finding, Fix, Severity, SourceLocation
from bnlint.source.cells import read_notebook
from bnlint.source.document import diff, fix, ignoring, inspect
from bnlint.source.notebook import Notebook, clipped, edited
from bnlint.source.notebook_file import NotebookFile
from bnlint.source.project import Project
from bnlint.source.text import SourceText, apply

HEAD = "import torch\nfrom torch import nn"
WITH = """def g(x):
    with torch.no_grad():
        m = x.mean()
        {}
    return x - m"""


def found(content: bytes, path: str = "nb.ipynb") -> list[tuple[str, int | None, int, int]]:
    findings = inspect(content, path).findings
    return [(f.code, f.location.cell, f.location.line, f.location.column) for f in findings if f.location]


def all_of(_: Finding) -> bool:
    return True


# -- what is found


def test_a_place_is_a_cell_and_a_line_in_it() -> None:
    content = written("# Text", "%matplotlib inline\nx = !ls", "", f"y?\n\n{BAD}", "%%bash\nls", BAD)
    assert found(content) == [("BN101", 4, 4, 24), ("BN101", 6, 2, 24)]
    (first, _) = inspect(content, "nb.ipynb").findings
    assert {mark.location.cell for mark in first.marks} == {4}
    assert first.location is not None and first.location.place == "nb.ipynb:cell 4"


def test_cells_share_a_scope() -> None:
    helper = "def center(x):\n    return x.mean().detach()"
    assert found(written(helper, "def f(x):\n    return x - center(x)")) == [("BN101", 1, 2, 20)]
    assert found(written(helper, "def f(x):\n    return x")) == []


def test_a_definition_that_comes_again_is_checked_each_time() -> None:
    layer = "class Norm(nn.Module):\n    def forward(self, x):\n        return {}(x) - x.mean(){}"
    use = "def f(x):\n    return x - center(x)"
    content = written(
        HEAD,
        "def center(x):\n    return x.mean().detach()",
        use,
        layer.format("f", ".detach()"),
        "def center(x):\n    return x.mean()",
        layer.format("", ""),
        layer.format("", ".data"),
    )
    assert [(code, cell) for code, cell, *_ in found(content)] == [("BN101", 2), ("BN101", 4), ("BN101", 7)]
    assert [(code, cell) for code, cell, *_ in found(fix(content, "nb.ipynb", all_of))] == []


def test_comments_hold_for_definitions_that_come_again() -> None:
    later = BAD.replace("mean().detach()", "mean()")
    assert found(written(BAD, later)) == [("BN101", 1, 2, 24)]
    assert found(written(f"{BAD}  # bnlint: ignore[BN101] bad on purpose", later)) == []
    assert found(written(BAD, later, "x = 1  # bnlint: ignore-file[BN101] bad on purpose")) == []
    assert found(written("x = 1  # bnlint: ignore-file[BN101] bad on purpose", later, BAD)) == []


def test_a_cell_that_does_not_parse_is_told_and_the_others_are_checked() -> None:
    broken = "x = 1\ndef f(:\n    pass"
    assert found(written("# Text", broken, BAD)) == [("BN001", 2, 2, 7), ("BN101", 3, 2, 24)]
    assert sources(fix(written(broken, BAD), "nb.ipynb", all_of)) == [broken, FIXED]


@pytest.mark.parametrize(
    "cell",
    [
        "await x",
        "async with a as b:\n    await b",
        "plt.plot(x);",
        "  x = 1\n  y = 2",
        "%%html\n<p>",
        "x?",
        "return",
        "# -*- coding: latin-1 -*-\nx = 'é'",
        "",
        "%%time\n",
    ],
)
def test_what_a_notebook_can_run_is_no_error(cell: str) -> None:
    assert found(written(cell, BAD)) == [("BN101", 2, 2, 24)]


@pytest.mark.parametrize("text", ["x = '\ud800'", "x = 1\0", "(" * 5000])
def test_what_cannot_be_parsed_at_all_is_one_finding(text: str) -> None:
    document = notebook("x", BAD)
    document["cells"][0]["source"] = text
    content = Style(ensure_ascii=True).spelled(document)
    assert [(code, cell) for code, cell, *_ in found(content)] == [("BN001", 1), ("BN101", 2)]


@pytest.mark.parametrize(
    ("content", "line", "column", "why"),
    [
        (b"", 1, 1, "expecting value"),
        (b'{"cells": [\n  1,\n]}', 3, 1, "expecting value"),
        (b'{"cells": \xff}', 1, 1, "UTF-8"),
        (b"[1, 2]", 1, 1, "no list of cells"),
        (b'{"nbformat": 4}', 1, 1, "no list of cells"),
        (b'{"cells": 1}', 1, 1, "no list of cells"),
        (b'{"worksheets": [1]}', 1, 1, "no list of cells"),
        (b"[" * 100_000, 1, 1, "recursion"),
        (b"9" * 5000, 1, 1, "digits"),
    ],
)
def test_a_file_that_is_no_notebook_is_one_finding(content: bytes, line: int, column: int, why: str) -> None:
    (finding,) = inspect(content, "nb.ipynb").findings
    assert finding.code == "BN001"
    assert finding.message.startswith("not a notebook: ") and why in finding.message
    assert finding.location == SourceLocation("nb.ipynb", line, column, line, column)
    assert fix(content, "nb.ipynb", all_of) == content


ODD: list[Any] = [
    1,
    {},
    {"cell_type": "code"},
    {"cell_type": "code", "source": 1},
    {"cell_type": "code", "source": [1]},
    {"cell_type": "raw", "source": BAD, "metadata": {}},
]


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_code_cell_counts_and_is_passed_over(odd: object) -> None:
    document = notebook(BAD)
    document["cells"].insert(0, odd)
    assert found(json.dumps(document).encode()) == [("BN101", 2, 2, 24)]


@pytest.mark.parametrize(
    ("metadata", "checked"),
    [
        ({}, True),
        ({"language_info": {"name": "python"}}, True),
        ({"kernelspec": {"name": "x", "language": "Python"}}, True),
        ({"kernelspec": {"name": "conda-env-py"}}, True),
        ({"language_info": {"name": "R"}, "kernelspec": {"name": "python3"}}, False),
        ({"kernelspec": {"name": "julia-1.9", "language": "julia"}}, False),
        ({"kernelspec": {"name": "ir", "display_name": "R"}}, False),
        ({"kernelspec": {"name": "julia-1.9"}}, False),
        ({"language": "Julia"}, False),
    ],
)
def test_a_notebook_in_another_language_is_passed_over(metadata: dict[str, Any], checked: bool) -> None:
    document = notebook("f <- function(a) a", BAD)
    document["metadata"] = metadata
    codes = [code for code, *_ in found(json.dumps(document).encode())]
    assert codes == (["BN001", "BN101"] if checked else [])


def test_a_cell_in_another_language_is_passed_over() -> None:
    document = notebook("f <- function(a) a", BAD)
    document["cells"][0]["metadata"] = {"vscode": {"languageId": "r"}}
    assert found(json.dumps(document).encode()) == [("BN101", 2, 2, 24)]


@pytest.mark.parametrize("whole", [True, False])
def test_notebooks_of_version_3(whole: bool) -> None:
    code: dict[str, Any] = {"cell_type": "code", "metadata": {}, "outputs": [], "collapsed": False}
    cells = [
        {"cell_type": "markdown", "source": "x", "metadata": {}},
        code | {"language": "python"},
        code | {"language": "R", "input": "f <- function(a) a"},
    ]
    cells[1]["input"] = BAD if whole else BAD.splitlines(keepends=True)
    document = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [{"cells": cells}]}
    content = Style(indent=2).spelled(document)
    assert found(content) == [("BN101", 2, 2, 24)]
    result = fix(content, "nb.ipynb", all_of)
    assert sources(result) == ["x", FIXED, "f <- function(a) a"]
    cells[1]["input"] = FIXED if whole else FIXED.splitlines(keepends=True)
    assert result == Style(indent=2).spelled(document)


def test_a_notebook_imports_from_its_project(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "src" / "pkg").mkdir(parents=True)
    (tmp_path / "src" / "pkg" / "__init__.py").touch()
    helper = tmp_path / "src" / "pkg" / "stats.py"
    helper.write_text("def center(x):\n    return x.mean().detach()\n")
    path = tmp_path / "notebooks" / "nb.ipynb"
    path.parent.mkdir()
    use = "def f(x):\n    return x - center(x)"
    path.write_bytes(written("from pkg.stats import center", use))
    (finding,) = inspect(path.read_bytes(), str(path), Project([path])).findings
    assert finding.location is not None and Path(finding.location.path) == helper
    assert finding.location.cell is None
    assert [(Path(mark.location.path).name, mark.location.cell) for mark in finding.marks] == [
        ("stats.py", None),
        ("stats.py", None),
        ("nb.ipynb", 2),
    ]


@pytest.mark.parametrize("sheets", [None, [], [{}]])
def test_a_notebook_of_version_3_may_have_no_cells(sheets: list[object] | None) -> None:
    document = {"nbformat": 3, "nbformat_minor": 0, "metadata": {}} | ({} if sheets is None else {"worksheets": sheets})
    assert found(json.dumps(document).encode()) == []


def test_older_notebooks_are_passed_over() -> None:
    sheet = {"cells": [{"cell_type": "code", "language": "python", "input": ["def f(x):", "    return ("]}]}
    assert found(json.dumps({"nbformat": 2, "worksheets": [sheet]}).encode()) == []


# -- comments


def test_comments_suppress_in_their_cell_or_in_all() -> None:
    ignored = BAD + "  # bnlint: ignore[BN101] frozen"
    assert found(written(ignored, BAD)) == [("BN101", 2, 2, 24)]
    assert found(written(BAD + "  # noqa: BN101")) == []
    assert found(written("# Text", "# bnlint: ignore-file[BN101] why".replace("# b", "x = 1  # b"), BAD, BAD)) == []
    assert found(written("x = 1  # bnlint: ignore[BN101] gone", BAD)) == [("BN002", 1, 1, 25), ("BN101", 2, 2, 24)]


def test_comments_are_written_into_cells() -> None:
    content = written("# Text", f"%time x\n{BAD}", f"{BAD}\n")
    findings = inspect(content, "nb.ipynb").findings
    result = ignoring(content, "nb.ipynb", findings, 'like "é"')
    comment = '  # bnlint: ignore[BN101] like "é"'
    assert sources(result) == ["# Text", f"%time x\n{BAD}{comment}", f"{BAD}{comment}\n"]
    assert found(result) == []


def test_an_unused_comment_that_is_the_last_line_goes_with_its_line() -> None:
    content = written("x = 1\n# bnlint: ignore[BN101] gone", "y = 1")
    assert sources(fix(content, "nb.ipynb", all_of)) == ["x = 1", "y = 1"]


# -- fixes


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("whole", [True, False])
def test_a_fixed_notebook_is_the_same_file_with_other_sources(style: str, whole: bool) -> None:
    document = notebook("# é", f"%time x = 'é'\n{BAD}  # é", "y?", BAD)
    if whole:
        for cell in document["cells"]:
            cell["source"] = "".join(cell["source"])
    content = STYLES[style].spelled(document)
    result = fix(content, "nb.ipynb", all_of)
    for cell in document["cells"]:
        source = cell["source"]
        cell["source"] = [s.replace(".detach()", "") for s in source] if not whole else source.replace(".detach()", "")
    assert result == STYLES[style].spelled(document)
    assert sources(result)[1] == f"%time x = 'é'\n{FIXED}  # é"
    assert found(result) == []


def test_magics_in_a_block_move_with_it() -> None:
    content = written(HEAD, WITH.format("%time y = 1"))
    moved = "def g(x):\n    m = x.mean()\n    %time y = 1\n    return x - m"
    assert sources(fix(content, "nb.ipynb", all_of)) == [HEAD, moved]


def test_an_import_goes_behind_the_last_one_above_its_use() -> None:
    use = "def f(x):\n    m = x.mean()\n    {}\n    return x - m"
    content = written("import torch\nimport torch.distributed as dist", use.format("dist.all_reduce(m)"), "import os")
    assert sources(fix(content, "nb.ipynb", all_of, unsafe=True)) == [
        "import torch\nimport torch.distributed as dist\nimport torch.distributed.nn",
        use.format("m = torch.distributed.nn.functional.all_reduce(m)"),
        "import os",
    ]


def test_without_a_fixable_finding_nothing_changes() -> None:
    content = written("x = 1", BAD)
    assert fix(content, "nb.ipynb", lambda finding: finding.code != "BN101") == content


def cell_notebook() -> Notebook:
    return read_notebook(written("x = 1\ny = 2", "%time f(x)\nz = !ls\nu = 3", "%%time\nv = 4", "w = ("), "nb.ipynb")


@pytest.mark.parametrize(
    ("cell", "place", "fits"),
    [
        (1, (1, 1, 2, 6), True),
        (1, (2, 1, 3, 1), True),
        (1, (2, 1, 4, 1), False),  # into the next cell
        (2, (1, 1, 1, 1), True),
        (2, (1, 2, 1, 2), False),  # inside of a magic
        (2, (1, 1, 1, 4), False),
        (2, (1, 1, 3, 1), False),
        (2, (2, 1, 2, 2), True),  # the name that the output of a command is given to
        (2, (2, 1, 2, 7), False),
        (2, (3, 1, 3, 6), True),
        (3, (1, 1, 1, 1), False),  # above a magic of the cell
        (3, (2, 1, 2, 6), True),
        (4, (1, 1, 1, 1), False),  # a cell that does not parse
        (9, (1, 1, 1, 1), False),
    ],
)
def test_a_fix_that_a_cell_cannot_take_is_not_offered(cell: int, place: tuple[int, ...], fits: bool) -> None:
    read = cell_notebook()
    rule = BY_CODE["BN101"]
    where = read.inward(SourceLocation("nb.ipynb", *place, cell=cell))
    edit = Edit(where, "")
    finding = Finding(rule.code, rule.name, Severity.ERROR, "", where, fix=Fix("", True, (edit,)))
    assert (read.told(finding).fix is not None) is fits


@given(
    st.lists(st.sampled_from(["x = 1", "%time y\nx = 1\n", "", "\n\n", "%%bash\nls", "a = '''\n'''", "("]), min_size=1)
)
@settings(max_examples=60, deadline=None)
def test_places_in_the_module_are_places_in_cells(cells: list[str]) -> None:
    read = read_notebook(written(*cells), "nb.ipynb")
    lines = read.module.split("\n")
    for cell in read.cells:
        python = cell.python.split("\n")
        for number in range(1, cell.lines + 1):
            inner = SourceLocation("nb.ipynb", number, 1, number + 1, 1, cell=cell.number)
            outer = read.inward(inner)
            assert lines[outer.line - 1] == python[number - 1]
            assert read.outward(outer) == inner


WORDS = ["x = 1\n", "y = 2\n", "# é\n", "z = '''\n", "'''\n"]


@given(st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_an_edited_notebook_reads_as_the_edited_module(cells: list[list[str]], data: st.DataObject) -> None:
    content = written(*("".join(cell).rstrip("\n").lstrip("# ") or "x" for cell in cells))
    read = read_notebook(content, "nb.ipynb")
    cell = data.draw(st.sampled_from(read.cells))
    if cell.text != cell.python:
        return
    line = data.draw(st.integers(1, cell.lines))
    width = len(cell.text.split("\n")[line - 1])
    first = data.draw(st.integers(1, width + 1))
    last = data.draw(st.integers(first, width + 1))
    edit = Edit(
        SourceLocation("nb.ipynb", line, first, line, last, cell=cell.number), data.draw(st.sampled_from(["u", ""]))
    )
    after = read_notebook(NotebookFile.of(content, "nb.ipynb").edited([edit]), "nb.ipynb")
    module = Notebook("", tuple(type(c)(c.number, c.text, c.text) for c in read.cells)).module
    changed = Notebook("", tuple(type(c)(c.number, c.text, c.text) for c in after.cells)).module
    assert changed == apply(SourceText.of(module), [Edit(read.inward(edit.location), edit.replacement)])


@pytest.mark.parametrize(
    ("text", "place", "replacement", "after"),
    [
        ("a\nb", (2, 1, 3, 1), "", "a"),
        ("a\r\nb", (2, 1, 3, 1), "", "a"),
        ("a\nb\n", (2, 1, 3, 1), "", "a\n"),
        ("a", (1, 1, 2, 1), "", ""),
        ("a\nb", (3, 1, 3, 1), "c\n", "a\nb\nc"),
        ("a\r\nb", (3, 1, 3, 1), "c\r\n", "a\r\nb\r\nc"),
        ("a\nb\n", (3, 1, 3, 1), "c\n", "a\nb\nc\n"),
        ("a\nb", (2, 1, 3, 1), "c\n", "a\nc"),
        ("a\nb", (1, 2, 1, 2), "c\n", "ac\n\nb"),
    ],
)
def test_the_end_of_a_cell_stays_as_it_is(text: str, place: tuple[int, ...], replacement: str, after: str) -> None:
    edit = Edit(SourceLocation("nb.ipynb", *place, cell=1), replacement)
    start, end, put = clipped(text, edit)
    assert text[:start] + put + text[end:] == after == edited(text, [edit])


def test_a_diff_shows_sources() -> None:
    before = written("# Text", "x = 1", BAD)
    after = fix(before, "nb.ipynb", all_of)
    assert diff(before, after, "nb.ipynb") == (
        "--- nb.ipynb:cell 3\n+++ nb.ipynb:cell 3\n@@ -1,2 +1,2 @@\n def f(x):\n"
        "-    return x - x.mean().detach()\n+    return x - x.mean()\n"
    )
    assert diff(before, before, "nb.ipynb") == ""
    longer = NotebookFile.of(before, "nb.ipynb").edited([Edit(SourceLocation("", 2, 1, 2, 1, cell=2), "y\n")])
    assert diff(before, longer, "nb.ipynb").splitlines()[2:] == ["@@ -1 +1,2 @@", " x = 1", "+y"]
    assert diff(b"x = 1", b"x = 2", "a.py").endswith(
        "-x = 1\n\\ No newline at end of file\n+x = 2\n\\ No newline at end of file\n"
    )
