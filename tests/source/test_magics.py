"""What of a cell is Python; IPython itself tells what it would make of it."""

from __future__ import annotations

import ast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from bnlint.source.magics import without_magics

PYTHON = [
    "x = 1",
    "x = a % b",
    "y = (a\n    % b\n% c\n/ d)",
    "s = '''\n%no\n!no\nno?\n'''",
    's = "# %no?"  # what?',
    "z = {\n  'a': f'{b!r}',\n}",
    "s = 'it\\'s' \\\n  '%no'",
    "plt.plot(x);",
    "await f(x)",
    "assert a != b",
    "def f(x):\n    # why?\n    return x % 2",
    "for i in x:\n    s += '''\n  %s?'''\n    i %= 2",
    "x = r'\\d'; y = 'a\\\\'",
    "@a\nclass B:\n    pass",
]
MAGIC = [
    "%matplotlib inline",
    "%time x = f(y)",
    "!pip install 'x>=1' # y",
    "!ls \\\n  -l \\\n  b",
    "!echo 'it is",
    "?f",
    "f?",
    "f.a??",
    "%time?",
    "files = !ls 'a' | wc",
    "files = %time f('a')",
    "a, b = !ls",
    "if x:\n    %time f(x)\n    !ls\n    y = !ls\n    z = 1",
    "with a:\n    f?",
    "%%no_cell",
]


class Plain(ast.NodeTransformer):
    """Calls of IPython as bnlint writes them."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        return ast.Pass() if "get_ipython" in ast.unparse(node) else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        called = "get_ipython" in ast.unparse(node.func)
        return ast.parse("get_ipython()", mode="eval").body if called else self.generic_visit(node)


def dump(text: str) -> str:
    return ast.dump(Plain().visit(ast.parse(text)))


def as_ipython(cell: str) -> str:
    return dump(TransformerManager().transform_cell(cell))


@given(st.lists(st.sampled_from([*PYTHON, *MAGIC, "", "# a comment"]), min_size=1, max_size=6), st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_is_left_is_what_ipython_runs(statements: list[str], newline: bool) -> None:
    cell = "\n".join(statements) + "\n" * newline
    assume(not cell.lstrip().startswith("%%"))
    python = without_magics(cell)
    assert python is not None
    assert dump(python) == as_ipython(cell)
    assert python.count("\n") == cell.count("\n")


@pytest.mark.parametrize("statement", MAGIC[:-1])
def test_ipython_calls_each_of_these_magic(statement: str) -> None:
    """The oracle can tell: what is no magic would not call IPython."""
    assert "get_ipython" in TransformerManager().transform_cell(statement)
    with pytest.raises(SyntaxError):
        ast.parse(statement)


@pytest.mark.parametrize("statement", PYTHON)
def test_python_stays_as_it_is(statement: str) -> None:
    assert without_magics(statement) == statement


@pytest.mark.parametrize("head", ["%%time", "%%timeit -n 1 x = 2", "%%capture out", "\n  \n%%time"])
def test_a_cell_magic_for_python_is_passed_over_alone(head: str) -> None:
    python = without_magics(f"{head}\n%matplotlib inline\nx = 1")
    assert python is not None
    assert python.splitlines()[-3:] == ["pass", "pass", "x = 1"]
    assert python.count("\n") == head.count("\n") + 2


@pytest.mark.parametrize("head", ["%%bash", "%%html", "%%writefile a.py", "\n%%R -i x", "%%script bash", "%%sql"])
def test_a_cell_for_another_program_is_passed_over_as_a_whole(head: str) -> None:
    assert without_magics(f"{head}\nx = 1") is None


def test_columns_of_python_stay() -> None:
    cell = "x = f(a); y = 2\r\nfiles = !ls\r\nif x:\r\n\t%time g()\r\n\tz = 1"
    assert without_magics(cell) == "x = f(a); y = 2\r\nfiles = get_ipython()\r\nif x:\r\n\tpass\r\n\tz = 1"


@given(st.text(st.sampled_from("ab=%!?;/,\\'\"#([{)]}\n\t "), max_size=40))
@settings(max_examples=500, deadline=None)
def test_any_text_has_as_many_lines_as_before(text: str) -> None:
    python = without_magics(text)
    assert python is None or python.count("\n") == text.count("\n")
