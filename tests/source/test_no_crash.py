"""Whatever the file holds, the check answers and the fix leaves a file that parses."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import hypothesmith
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from shapes import MEANT, RIGHT, STOPPED

from bnlint.source.check import check_source, fix_source
from bnlint.source.project import Project

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, database=None
)

NAMES = st.sampled_from(
    ["x", "y", "m", "v", "s", "self.m", "self.running_mean", "s['a']", "s[0]", "s[i]", "*r", "f", "k"]
)
ATOMS = st.one_of(
    NAMES.filter(lambda name: "*" not in name),
    st.sampled_from(
        ["1e-5", "-1", "'a'", "None", "True", "()", "[]", "{}", "self.training", "self", "torch", "...", "x.T"]
    ),
)
WRAPPERS = [
    "{0}.mean(0)", "{0}.var(0, keepdim=True)", "{0}.detach()", "{0}.data", "{0}.item()", "{0}.detach_()", "{0}.sqrt()",
    "{0}[None]", "{0}[{1}]", "{0}[:, 1]", "{0}.mul_({1}).add_({2})", "({0} - {1})", "({0} / {1})", "{0} ** -0.5",
    "-{0}", "not {0}", "({0}, {1})", "[{0}, {1}]", "{{'a': {0}, 'b': {1}}}", "{{**{0}}}", "{0} if {1} else {2}",
    "torch.var_mean({0})", "torch.lerp({0}, {1}, 0.1)", "F.batch_norm({0}, {1}, {2}, training=False)",
    "f({0}, *{1}, **{2})",
    "self.helper({0}, key={1})", "helper({0})", "(lambda q: q - {0})({1})", "[q.detach() for q in {0}]", "dict(a={0})",
    "{{q: {0} for q, r in {1}.items() if {2}}}", "zip({0}, {1})", "map(torch.detach, {0})", "float({0})",
    "np.mean({0})", "super().forward({0})", "{0}.update({1})", "{0}.append({1})", "{0}.get({1}, {2})", "{0} @ {1}",
    "{0} < {1} <= {2}", "{0} and {1} or {2}", "f'{{ {0} }}'", "torch.from_numpy({0}.numpy())", "x.chunk(2)[{0}]",
    "enumerate({0})", "{0}[{1}:, None]", "torch.detach({0})", "torch.detach(({0}))", "self.part({0})",
    "s.setdefault({0}, {1})", "torch.exp(-torch.log({0}))",
]  # fmt: skip
EXPRESSIONS = st.recursive(
    ATOMS,
    lambda inner: st.builds(
        lambda wrapper, *parts: wrapper.format(*parts), st.sampled_from(WRAPPERS), inner, inner, inner
    ),
    max_leaves=6,
)
SIMPLE = st.one_of(
    st.builds("{} = {}".format, NAMES, EXPRESSIONS),
    st.builds("{}, {} = {}".format, NAMES, NAMES, EXPRESSIONS),
    st.builds("a = b = {}".format, EXPRESSIONS),
    st.builds("m: object = {}".format, EXPRESSIONS),
    st.builds("m -= {}".format, EXPRESSIONS),
    st.builds("self.running_mean += {}".format, EXPRESSIONS),
    st.builds("return {}".format, EXPRESSIONS),
    st.builds("return x - {}".format, EXPRESSIONS),
    st.builds("return (x - {}) / {}".format, EXPRESSIONS, EXPRESSIONS),
    st.builds("(w := {})".format, EXPRESSIONS),
    st.builds("global g; g = {}".format, EXPRESSIONS),
    st.sampled_from(
        [
            "pass",
            "raise ValueError",
            "import torch as t",
            "del m",
            "assert x",
            "yield x",
            "torch.set_grad_enabled(False)",
            "m.detach_()",
            "y = x - m; m.detach_(); x -= m",
            "with torch.no_grad(): m = x.mean(0)",
            "self.part = Part()",
        ]
    ),
    EXPRESSIONS,
)
HEADERS = st.sampled_from([
    "if self.training:", "if x:", "for i in range(3):", "for i, m in enumerate(s):", "while x:",
    "with torch.no_grad():", "with torch.no_grad(), f() as g:", "with torch.inference_mode():", "try:",
    "def inner(q, *a, k=1, **b):", "class Inner:", "@torch.no_grad()\ndef inner(q):", "async def inner(q):",
    "match x:\n  case {'a': m}:",
])  # fmt: skip


def indented(text: str, by: str = "    ") -> str:
    return "\n".join(by + line for line in text.splitlines())


def block(header: str, body: list[str]) -> str:
    inside = "\n".join(indented(line, "      " if header.startswith("match") else "    ") for line in body)
    return f"{header}\n{inside}" + ("\nfinally:\n    pass" if header == "try:" else "")


STATEMENTS = st.recursive(
    SIMPLE, lambda inner: st.builds(block, HEADERS, st.lists(inner, min_size=1, max_size=3)), max_leaves=8
)


def valid(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True


@st.composite
def programs(draw: st.DrawFn) -> str:
    bodies = [draw(st.lists(STATEMENTS, min_size=1, max_size=4)) for _ in range(3)]
    forward, helper, function = (
        "\n".join(line for line in body if valid(f"def f():\n{indented(line)}")) for body in bodies
    )
    return (
        "import torch\nimport numpy as np\nimport torch.nn.functional as F\n\n"
        f"def helper(x, s=None):\n    pass\n{indented(function)}\n\n"
        "class Part:\n    def forward(self, x):\n        return self.part(x).detach()\n\n"
        "class N(torch.nn.BatchNorm2d):\n    def __init__(self):\n        self.part = Part()\n\n"
        f"    def helper(self, x, key=None):\n        pass\n{indented(helper, ' ' * 8)}\n"
        f"    def forward(self, x, s=None):\n        m = x.mean(0)\n{indented(forward, ' ' * 8)}\n"
        "        return x - m.detach()\n"
    )


@FEW
@given(programs())
def test_any_program(source: str) -> None:
    if not valid(source):
        return
    found = check_source(source.encode(), "a.py")
    assert all(f.location is not None and 1 <= f.location.line <= source.count("\n") for f in found)
    fixed = fix_source(source.encode(), "a.py", lambda _: True)
    ast.parse(fixed)
    assert fix_source(fixed, "a.py", lambda _: True) == fixed


@FEW
@given(hypothesmith.from_grammar().filter(valid))
def test_any_module_of_the_grammar(source: str) -> None:
    for text in (source, f"import torch\nfrom .other import *\nx.mean().detach()\n{source}"):
        if valid(text):
            check_source(text.encode(), "a.py", Project())


@FEW
@given(st.one_of(st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes(noise: bytes) -> None:
    source = b"m = x.mean().detach()\n" + noise
    check_source(source, "a.py")
    fix_source(source, "a.py", lambda _: True)


@pytest.mark.parametrize("source", (STOPPED | RIGHT | MEANT).values(), ids=(STOPPED | RIGHT | MEANT).keys())
def test_any_part_of_a_file(source: str) -> None:
    for end in range(0, len(source), 23):
        check_source(source[:end].encode(), "a.py")
        check_source(source[end:].encode(), "a.py")


def test_what_one_function_puts_into_a_table_is_not_there_for_the_next() -> None:
    source = """import torch

TABLE = {"mean": None}


def first(x):
    y = x * 2 + 1
    TABLE["mean"] = y.mean().detach()
    return y - TABLE["mean"]


def second(x):
    x.mean().detach()
    return x - TABLE["mean"][0]
"""
    assert [finding.symbol for finding in check_source(source.encode(), "a.py")] == ["first"]


@pytest.mark.parametrize("package", ["click", "rich", "libcst"])
def test_a_package_without_normalizations_is_silent(package: str) -> None:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    files = sorted(Path(spec.origin).parent.rglob("*.py"))
    assert len(files) > 10
    assert [f for path in files for f in check_source(path.read_bytes(), str(path))] == []
