"""Methods to be fixed, and what they do as live layers before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from bnlint.source.check import fix_source

_HEAD = """\
import math

import numpy as np
import torch
from torch.autograd import Variable


class Norm(torch.nn.BatchNorm1d):
    def forward(self, x):
"""


def fixed_text(text: str) -> str:
    """Fix a text, by safe fixes alone."""
    return fix_source(text.encode(), "a.py", lambda _: True).decode()


def method(body: str) -> str:
    """A module of one layer whose `forward(self, x)` has a body."""
    return _HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8) + "\n"


def live(source: str) -> nn.Module:
    """Run a module and build its layer in float64, with attributes that keep logs and running statistics."""
    names: dict[str, object] = {}
    exec(compile(source, "snippet.py", "exec"), names)
    layer: nn.Module = names["Norm"](3).double().train()  # type: ignore[operator]
    vars(layer).update(ema=torch.zeros(3), total=torch.zeros(3), number=0.0, history=[], logs={}, log=lambda *_: None)
    return layer


def batch(step: int) -> Tensor:
    """A random float64 input for the layer."""
    generator = torch.Generator().manual_seed(step)
    return torch.randn(6, 3, generator=generator, dtype=torch.float64) * 0.7 + 0.4


def gradient_error(source: str) -> float:
    """How far autograd is from a directional finite difference of the same layer, in float64 and relative."""
    generator = torch.Generator().manual_seed(9)
    x, direction, cotangent = batch(0), batch(1), torch.randn(6, 3, generator=generator, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((live(source)(leaf * 1) * cotangent).sum(), leaf)
    step = 1e-5
    plus, minus = ((live(source)(x + sign * step * direction) * cotangent).sum().item() for sign in (1, -1))
    numeric, analytic = (plus - minus) / (2 * step), (gradient * direction).sum().item()
    return abs(analytic - numeric) / max(abs(numeric), abs(analytic))


def kept(layer: nn.Module) -> Iterator[Tensor]:
    """Yield the tensors that a layer keeps besides its parameters: buffers, attributes, entries of lists and dicts."""
    todo: list[object] = [layer._buffers, *vars(layer).values()]
    while todo:
        value = todo.pop()
        if isinstance(value, nn.Parameter):
            continue
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, (list, tuple)):
            todo.extend(value)


def assert_mended(before: str, after: str) -> None:
    """Demand that a fix changes gradients alone, makes them right, and lets no graph outlive its step."""
    old, new = live(before), live(after)
    for step in range(3):
        leaf = batch(step).requires_grad_()
        values = new(leaf * 1)
        torch.testing.assert_close(values, old(leaf * 1), rtol=1e-12, atol=1e-12)
        values.square().sum().backward()  # through the graph of an earlier step this raises
    for mine, theirs in zip(kept(new), kept(old), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
        assert not mine.requires_grad
    assert gradient_error(after) < 1e-6 < 1e-4 < gradient_error(before)
