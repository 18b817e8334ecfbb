"""Fixes: exactly the stop goes, the rest of the file stays, forward values stay, the gradient becomes right."""

from __future__ import annotations

import ast
import textwrap

import pytest
import torch
from shapes import STOPPED
from snippets import about_gradients, gradient_error, layer, module, reported, run

from bnlint.finding import Severity
from bnlint.source.check import check_source, fix_source


def fixed(source: bytes) -> bytes:
    return fix_source(source, "a.py", lambda _: True)


def fixed_text(text: str) -> str:
    return fixed(text.encode()).decode()


EXACT = {
    "chain": (
        "m = x.mean(0).detach()\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "middle of a chain": (
        "m = x.mean(0).detach().clone()[None]\nreturn x - m",
        "m = x.mean(0).clone()[None]\nreturn x - m",
    ),
    "data": (
        "return x - x.mean(0).data",
        "return x - x.mean(0)",
    ),
    "spaces inside": (
        "m = x.mean(0) . detach ( )\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "comment behind": (
        "m = x.mean(0).detach()  # the mean\nreturn x - m",
        "m = x.mean(0)  # the mean\nreturn x - m",
    ),
    "odd formatting elsewhere": (
        "a  =  { 'm' : x.mean( 0 ).detach( ) , }\nreturn( x-a['m'] )  ;  y=1",
        "a  =  { 'm' : x.mean( 0 ) , }\nreturn( x-a['m'] )  ;  y=1",
    ),
    "parentheses in front": (
        "m = (x.mean(0) + 0).detach()\nreturn x - m",
        "m = (x.mean(0) + 0)\nreturn x - m",
    ),
    "several parentheses in front": (
        "m = ((x.mean(0))).detach().clone()\nreturn x - m",
        "m = ((x.mean(0))).clone()\nreturn x - m",
    ),
    "parentheses around": (
        "m = (x.mean(0).detach())\nreturn x - m",
        "m = (x.mean(0))\nreturn x - m",
    ),
    "chain over lines": (
        """
        m = (
            x.mean(0)
            .detach()
            .view(1, -1)
        )
        return x - m
        """,
        """
        m = (
            x.mean(0)
            .view(1, -1)
        )
        return x - m
        """,
    ),
    "backslash": (
        "m = x.mean(0) \\\n    .detach() \\\n    .clone()\nreturn x - m",
        "m = x.mean(0) \\\n    .clone()\nreturn x - m",
    ),
    "stop over lines": (
        "m = x.mean(0).detach(\n).clone()\nreturn x - m",
        "m = x.mean(0).clone()\nreturn x - m",
    ),
    "parentheses over lines": (
        """
        s = (
            x.var(0)  # biased
            + 1e-5  # eps
        ).detach().sqrt()
        return (x - x.mean(0)) / s
        """,
        """
        s = (
            x.var(0)  # biased
            + 1e-5  # eps
        ).sqrt()
        return (x - x.mean(0)) / s
        """,
    ),
    "two on a line": (
        "return (x - x.mean(0).detach()) / x.std(0).detach()",
        "return (x - x.mean(0)) / x.std(0)",
    ),
    "two in a row": (
        "m = x.mean(0).detach().clone().detach()\nreturn x - m",
        "m = x.mean(0).clone()\nreturn x - m",
    ),
    "the input": (
        "h = x.detach()\nreturn x - h.mean(0)",
        "h = x\nreturn x - h.mean(0)",
    ),
    "only the stop on the way": (
        "m = x.mean(0)\nself.log(m.detach())\nself.seen = m.detach()\nreturn x - m.detach()",
        "m = x.mean(0)\nself.log(m.detach())\nself.seen = m.detach()\nreturn x - m",
    ),
    "block": (
        """
        with torch.no_grad():
            m = x.mean(0)
            s = x.std(0)
        return (x - m) / s
        """,
        """
        m = x.mean(0)
        s = x.std(0)
        return (x - m) / s
        """,
    ),
    "block with comments and empty lines": (
        """
        with torch.no_grad():  # cheap
            # the mean
            m = x.mean(0)

            s = x.std(0)  # the deviation
        return (x - m) / s
        """,
        """
        # the mean
        m = x.mean(0)

        s = x.std(0)  # the deviation
        return (x - m) / s
        """,
    ),
    "block with a buffer's update": (
        """
        with torch.no_grad():
            m = x.mean(0)
            self.running_mean.lerp_(m, 0.1)
            s = x.std(0)
        return (x - m) / s
        """,
        """
        m = x.mean(0)
        with torch.no_grad():
            self.running_mean.lerp_(m, 0.1)
        s = x.std(0)
        return (x - m) / s
        """,
    ),
    "block with an update under a condition": (
        """
        with torch.no_grad():
            m = x.mean(0)
            if self.training:
                self.running_mean.lerp_(m, 0.1)
        return x - m
        """,
        """
        m = x.mean(0)
        with torch.no_grad():
            if self.training:
                self.running_mean.lerp_(m, 0.1)
        return x - m
        """,
    ),
    "block with statements over lines": (
        """
        with torch.no_grad():
            m = x.mean(
                0,
            )
            text = '''
                kept
            as it is'''
        return x - m
        """,
        """
        m = x.mean(
            0,
        )
        text = '''
                kept
            as it is'''
        return x - m
        """,
    ),
    "inference mode": (
        "with torch.inference_mode():\n    m = x.mean(0)\nreturn x - m.clone()",
        "m = x.mean(0)\nreturn x - m.clone()",
    ),
    "to the buffer's side": (
        "m = x.mean(0).detach()\nself.running_mean.mul_(0.9).add_(m, alpha=0.1)\nreturn x - m",
        "m = x.mean(0)\nself.running_mean.mul_(0.9).add_(m.detach(), alpha=0.1)\nreturn x - m",
    ),
    "to the buffer's side, an expression": (
        "m = x.mean(0).detach()\nself.running_mean += 0.1 * (m - self.running_mean)\nreturn x - m",
        "m = x.mean(0)\nself.running_mean += (0.1 * (m - self.running_mean)).detach()\nreturn x - m",
    ),
    "to the buffer's side, rebound": (
        "m = x.mean(0).data\nself.running_mean = 0.9 * self.running_mean + 0.1 * m\nreturn x - m",
        "m = x.mean(0)\nself.running_mean = (0.9 * self.running_mean + 0.1 * m).detach()\nreturn x - m",
    ),
    "to the buffer's side, two at once": (
        """
        m, v = x.mean(0).detach(), x.var(0).detach()
        self.running_mean, self.running_var = 0.9 * self.running_mean + 0.1 * m, v
        return (x - m) / (v + 1e-5).sqrt()
        """,
        """
        m, v = x.mean(0), x.var(0)
        self.running_mean, self.running_var = (0.9 * self.running_mean + 0.1 * m).detach(), v.detach()
        return (x - m) / (v + 1e-5).sqrt()
        """,
    ),
    "function": (
        "m = torch.detach(x.mean(0))\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "function of a sum": (
        "m = torch.detach(x.mean(0) + 0)\nreturn x - torch.detach(m + 0) * 1",
        "m = x.mean(0) + 0\nreturn x - (m + 0) * 1",
    ),
    "function of a sum in parentheses": (
        "return x - torch.detach((x.mean(0) + 0))",
        "return x - (x.mean(0) + 0)",
    ),
    "function over lines": (
        "m = torch.detach(\n    x.mean(0)\n    + 0,\n)\nreturn x - m",
        "m = (x.mean(0)\n    + 0)\nreturn x - m",
    ),
    "function in function": (
        "return x - torch.detach(input=torch.detach(x.mean(0).detach()))",
        "return x - x.mean(0)",
    ),
    "block on one line": (
        "with torch.no_grad(): m = x.mean(0)  # cheap\nreturn x - m",
        "m = x.mean(0)  # cheap\nreturn x - m",
    ),
    "block on one line, two statements": (
        "with torch.no_grad(): m = x.mean(0); s = x.std(0)\nreturn (x - m) / s",
        "m = x.mean(0); s = x.std(0)\nreturn (x - m) / s",
    ),
    "statement": (
        "m = x.mean(0)\nm.detach_()\nreturn x - m",
        "m = x.mean(0)\nreturn x - m",
    ),
    "statements alone in their block": (
        "m, s = x.mean(0), x.std(0)\nif self.training:\n    m.detach_()\n    s.detach_()\nreturn (x - m) / s",
        "m, s = x.mean(0), x.std(0)\nif self.training:\n    pass\n    pass\nreturn (x - m) / s",
    ),
    "statement alone behind a colon": (
        "m = x.mean(0)\nif self.training: m.detach_()\nreturn x - m",
        "m = x.mean(0)\nif self.training: pass\nreturn x - m",
    ),
    "statements on one line": (
        "m = x.mean(0); m.detach_(); s = x.std(0)\ns.detach_(); y = (x - m) / s\nreturn y",
        "m = x.mean(0); s = x.std(0)\ny = (x - m) / s\nreturn y",
    ),
    "in place in a chain": (
        "m = x.mean(0).detach_().clone()\nreturn x - m",
        "m = x.mean(0).clone()\nreturn x - m",
    ),
    "to the buffer's side, of a part": (
        "h = x.detach()\nself.running_mean.lerp_(h.mean(0), 0.1)\nreturn x[:4] - h[:4].mean(0)",
        "h = x\nself.running_mean.lerp_(h.mean(0).detach(), 0.1)\nreturn x[:4] - h[:4].mean(0)",
    ),
    "the buffer has no need": (
        """
        m = x.mean(0).detach()
        with torch.no_grad():
            self.running_mean.lerp_(m, 0.1)
        return x - m
        """,
        """
        m = x.mean(0)
        with torch.no_grad():
            self.running_mean.lerp_(m, 0.1)
        return x - m
        """,
    ),
    "the buffer has its own": (
        "m = x.mean(0).detach()\nself.running_mean.lerp_(m.detach(), 0.1)\nreturn x - m",
        "m = x.mean(0)\nself.running_mean.lerp_(m.detach(), 0.1)\nreturn x - m",
    ),
}


def method(body: str) -> str:
    head = "import torch\n\n\nclass Norm(torch.nn.BatchNorm1d):\n    def forward(self, x):\n"
    return head + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8) + "\n"


@pytest.mark.parametrize(("before", "after"), EXACT.values(), ids=EXACT.keys())
def test_exactly_the_stop_goes(before: str, after: str) -> None:
    assert fixed_text(method(before)) == method(after)


@pytest.mark.parametrize(("before", "after"), EXACT.values(), ids=EXACT.keys())
def test_fixed_twice_is_fixed_once_and_silent(before: str, after: str) -> None:
    once = fixed_text(method(before))
    assert fixed_text(once) == once
    assert reported(once) == []


def test_a_decorator_goes_with_its_line() -> None:
    before = "import torch\n\n\n@torch.no_grad()\ndef s(x):\n    return x.mean(0)\n\n\ndef f(x):\n    return x - s(x)\n"
    assert fixed_text(before) == before.replace("@torch.no_grad()\n", "")


def test_of_two_decorators_the_other_stays() -> None:
    before = textwrap.dedent("""\
        import torch


        class Norm:
            @staticmethod
            @torch.no_grad()  # cheap
            def stats(x):
                return x.mean(0)

            def forward(self, x):
                return x - self.stats(x)
        """)
    assert fixed_text(before) == before.replace("    @torch.no_grad()  # cheap\n", "")


def test_a_comment_inside_the_chain_stays() -> None:
    before = (
        "def f(x):\n    m = (\n        x.mean(0)  # the mean\n        .detach()  # no graph\n    )\n    return x - m\n"
    )
    after = fixed_text(before)
    assert "# the mean" in after
    assert "# no graph" in after
    assert "detach" not in after
    ast.parse(after)


NOT_FIXED = {
    "function with a comment inside": """
        m = torch.detach(  # no graph
            x.mean(0)
        )
        return x - m
    """,
    "function given to another": """
        (m,) = map(torch.detach, (x.mean(0),))
        return x - m
    """,
    "update on the line of the block": """
        with torch.no_grad(): m = x.mean(0); self.running_mean.lerp_(m, 0.1)
        return x - m
    """,
}


@pytest.mark.parametrize("body", NOT_FIXED.values(), ids=NOT_FIXED.keys())
def test_what_cannot_be_fixed_is_told_and_left(body: str) -> None:
    source = method(body)
    (finding,) = (f for f in check_source(source.encode(), "a.py") if f.severity is not Severity.NOTE)
    assert finding.fix is None
    assert fixed_text(source) == source


BYTES = {
    "windows": b"def f(x):\r\n    m = x.mean(0).detach()\r\n    return x - m\r\n",
    "old mac": b"def f(x):\r    m = x.mean(0).detach()\r    return x - m\r",
    "mixed newlines": b"def f(x):\r\n    m = x.mean(0).detach()\n    return x - m\r\n",
    "byte order mark": b"\xef\xbb\xbfdef f(x):\n    m = x.mean(0).detach()\n    return x - m\n",
    "latin-1": "# -*- coding: latin-1 -*-\ndef f(x):  # é\n    é = x.mean(0).detach()\n    return x - é  # ü\n".encode(
        "latin-1"
    ),
    "cp1252": "# coding: cp1252\ndef f(x):\n    s = '€'; m = x.mean(0).detach()\n    return x - m\n".encode("cp1252"),
    "wide characters": "def f(x):\n    s = '😀é'; m = x.mean(0).detach()  # 😀\n    return x - m\n".encode(),
    "tabs": b"def f(x):\n\tm = x.mean(0).detach()\n\tif x:\n\t\treturn x\n\treturn x - m\n",
    "no newline at the end": b"def f(x):\n    return x - x.mean(0).detach()",
    "form feed": b"import a\n\x0c\ndef f(x):\n    return x - x.mean(0).detach()\n",
    "trailing spaces": b"def f(x):   \n    return x - x.mean(0).detach()   \n   \n",
    "semicolons": b"def f(x): m = x.mean(0).detach(); return x - m\n",
}


@pytest.mark.parametrize("source", BYTES.values(), ids=BYTES.keys())
def test_the_other_bytes_stay(source: bytes) -> None:
    assert fixed(source) == source.replace(b".detach()", b"")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("indent", ["    ", "\t", "  "])
def test_a_block_keeps_newlines_and_indentation(newline: str, indent: str) -> None:
    before = ["import torch", "def f(x):", "{}with torch.no_grad():", "{}{}m = x.mean(0)", "{}return x - m", ""]
    after = ["import torch", "def f(x):", "{}m = x.mean(0)", "{}return x - m", ""]
    old, new = (newline.join(lines).replace("{}", indent).encode() for lines in (before, after))
    assert fixed(old) == new


def test_only_what_is_wanted_is_fixed() -> None:
    source = "def f(x):\n    return (x - x.mean(0).detach()) / x.std(0).detach()\n"
    after = fix_source(source.encode(), "a.py", lambda finding: finding.statistic == "mean").decode()
    assert after == "def f(x):\n    return (x - x.mean(0)) / x.std(0).detach()\n"


def test_a_suppressed_finding_is_not_fixed() -> None:
    source = "def f(x):\n    return x - x.mean(0).detach()  # bnlint: ignore[BN101] frozen\n"
    assert fixed_text(source) == source


def test_a_file_that_does_not_parse_is_left() -> None:
    assert fixed(b"def f(x:\n    return x - x.mean().detach()\n") == b"def f(x:\n    return x - x.mean().detach()\n"


#: what has no fix, and why
UNFIXABLE = {
    "map": "the stop is a function that is handed to another function",
    "named statistic put out without gradients": "torch refuses `out=` where gradients are recorded",
    "array that is copied": "a tensor has no copy method to let the gradient through",
    "variance by numpy": "NumPy computes the variance: there is no gradient to let through",
}
FIXABLE = {name: source for name, source in STOPPED.items() if name not in UNFIXABLE}


def test_what_is_reported_has_a_fix_or_a_reason_why_not() -> None:
    unfixed = {name for name, s in STOPPED.items() if any(f.fix is None for f in about_gradients(s))}
    assert unfixed == UNFIXABLE.keys()


@pytest.mark.parametrize("source", FIXABLE.values(), ids=FIXABLE.keys())
def test_a_fix_keeps_the_values_and_mends_the_gradient(source: str) -> None:
    after = fixed_text(source)
    assert reported(after) == []
    assert fixed_text(after) == after
    if "F.batch_norm" in source:
        return  # with live statistics it needs training=True: torch refuses a running_var that requires grad
    x = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(run(source)(x), run(after)(x))
    assert gradient_error(after) < 1e-6


UPDATING = {
    "in place": layer("""
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        var = x.var((0, 2, 3), keepdim=True).detach()
        self.running_mean.mul_(0.9).add_(0.1 * mean)
        self.running_var.mul_(0.9).add_(var, alpha=0.1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
    """),
    "rebound": layer("""
        mean, var = x.mean((0, 2, 3), keepdim=True).data, x.var((0, 2, 3), keepdim=True).data
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean
        self.running_var = torch.lerp(self.running_var, var, 0.1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
    """),
    "in a block": layer("""
        with torch.no_grad():
            mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
            self.running_mean += 0.1 * (mean - self.running_mean)
            self.running_var.copy_(0.9 * self.running_var + 0.1 * var)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
    """),
    "in a helper": layer(
        """
        def update(self, mean, var):
            self.running_mean.lerp_(mean, 0.1)
            self.running_var.lerp_(var, 0.1)
        """,
        """
        mean, var = x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True).detach()
        self.update(mean, var)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
        """,
    ),
    "a plain attribute": module("""
        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.moving = torch.zeros(1, 3, 1, 1)
                self.weight = nn.Parameter(torch.ones(1, 3, 1, 1))

            def forward(self, x):
                mean = x.mean((0, 2, 3), keepdim=True).detach()
                self.moving = 0.9 * self.moving + 0.1 * mean
                return (x - mean) * self.weight
    """),
    "arguments of a function": module("""
        def batch_norm(x, moving_mean):
            mean = x.mean((0, 2, 3), keepdim=True).detach()
            moving_mean = 0.9 * moving_mean + 0.1 * mean
            return x - mean, moving_mean


        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.moving = torch.zeros(1, 3, 1, 1)

            def forward(self, x):
                y, self.moving = batch_norm(x, self.moving)
                return y
    """),
}


@pytest.mark.parametrize("source", UPDATING.values(), ids=UPDATING.keys())
def test_running_statistics_stay_out_of_the_graph(source: str) -> None:
    after = fixed_text(source)
    assert {code for _, code in reported(after)} <= {"BN202"}
    old, new = run(source), run(after)
    for step in range(3):
        x = torch.randn(
            6, 3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(step), requires_grad=True
        )
        values = new(x)
        assert torch.equal(values, old(x))
        values.square().sum().backward()  # a second time through an old graph would raise
        buffers = [*new.buffers(), *(t for t in vars(new).values() if isinstance(t, torch.Tensor))]
        assert buffers
        assert not any(buffer.requires_grad for buffer in buffers)
    for mine, theirs in zip(new.buffers(), old.buffers(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("source", [UPDATING["in place"], UPDATING["in a block"]], ids=["in place", "in a block"])
def test_the_fixed_layer_passes_gradcheck(source: str) -> None:
    x = torch.randn(3, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    norm = run(fixed_text(source))
    assert torch.autograd.gradcheck(norm, x, fast_mode=False)
    assert not torch.autograd.gradcheck(run(source), x, fast_mode=False, raise_exception=False)
