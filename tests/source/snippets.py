"""Short modules that mark the lines to report (`# BN101`), and what autograd does with them when they run."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable

import torch

from bnlint.finding import Finding, Severity
from bnlint.source.check import check_source

IMPORTS = "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n\n"
_INIT = """\
class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.eps = 1e-5
        self.momentum = 0.1
        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, 3).view(1, 3, 1, 1))
        self.bias = nn.Parameter(torch.linspace(-1.0, 1.0, 3).view(1, 3, 1, 1))
        self.register_buffer("running_mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("running_var", torch.ones(1, 3, 1, 1))
"""
_MARK = re.compile(r"#.*\b(BN\d{3})\b")


def module(text: str) -> str:
    """A module of its own classes and functions."""
    return IMPORTS + textwrap.dedent(text).strip("\n") + "\n"


def layer(*methods: str) -> str:
    """A module with one class `Norm` of the usual parameters and buffers; the last method is the body of forward."""
    *others, body = (textwrap.dedent(method).strip("\n") for method in methods)
    forward = "def forward(self, x):\n" + textwrap.indent(body, "    ")
    return IMPORTS + _INIT + "".join(f"\n{textwrap.indent(method, '    ')}\n" for method in (*others, forward))


def marked(source: str) -> list[tuple[int, str]]:
    """The lines that a source marks, with their codes."""
    lines = enumerate(source.splitlines(), 1)
    return [(number, code) for number, line in lines for code in _MARK.findall(line)]


def filled(shape: str, stop: str) -> str:
    """A source with a stop in the places of `<STOP>`, whose lines are marked; without a stop none is."""
    mark = "  # BN101" if stop else ""
    return "\n".join(line.replace("<STOP>", stop) + mark * ("<STOP>" in line) for line in shape.splitlines())


def reported(source: str) -> list[tuple[int, str]]:
    """The lines that the static check reports as harmful, each once."""
    return _lines(source, lambda severity: severity is not Severity.NOTE)


def noted(source: str) -> list[tuple[int, str]]:
    """The lines that the static check remarks on, each once: what is meant, or harmless."""
    return _lines(source, lambda severity: severity is Severity.NOTE)


def about_gradients(source: str) -> list[Finding]:
    """What the static check says about stops, and not about running statistics or the formula."""
    return [f for f in check_source(source.encode(), "snippet.py") if f.code.startswith(("BN0", "BN1"))]


def _lines(source: str, wanted: Callable[[Severity], bool]) -> list[tuple[int, str]]:
    found = about_gradients(source)
    return sorted({(f.location.line, f.code) for f in found if f.location is not None and wanted(f.severity)})


def run(source: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Execute a module and return its `Norm()` in float64, or its function `norm`."""
    names: dict[str, object] = {}
    exec(compile(source, "snippet.py", "exec"), names)
    if "Norm" in names:
        torch.manual_seed(0)
        return names["Norm"]().double().train()  # type: ignore[operator]
    return names["norm"]  # type: ignore[return-value]


def gradient_error(source: str) -> float:
    """How far autograd is from a directional finite difference of the same code, in float64 and relative."""
    return direction_error(run(source))


def direction_error(function: Callable[[torch.Tensor], torch.Tensor]) -> float:
    """How far autograd is from a directional finite difference of a function, in float64 and relative."""
    generator = torch.Generator().manual_seed(1)
    x, direction = (torch.randn(6, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    x = x * 0.7 + 0.4
    cotangent = torch.randn(6, 3, 4, 4, generator=generator, dtype=torch.float64)

    def value(at: torch.Tensor) -> torch.Tensor:
        return (function(at).reshape(x.shape) * cotangent).sum()

    live = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(live), live)
    step = 1e-5
    numeric = (value(x + step * direction) - value(x - step * direction)).item() / (2 * step)
    analytic = (gradient * direction).sum().item()
    return abs(analytic - numeric) / max(abs(numeric), abs(analytic))
