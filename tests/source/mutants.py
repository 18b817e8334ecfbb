"""Modules made of a normalization, a way to travel and a stop, as source text; what is true of each is measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from mutant_kinds import KINDS, Kind
from mutant_stops import STOPS, Stop
from mutant_text import Piece, Statistics, indent
from mutant_travels import WAYS

_STANDARD = ("collections", "contextlib", "dataclasses", "types", "typing")
_IMPORTS = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
_TARGETS = (("mean", "spread"), ("mean",), ("spread",))
_MARK = "# stop"
LATE = "stopped at its use"


@dataclass(frozen=True)
class Mutant:
    """One module: its layer is `Norm`, and the lines that hold a stop end in `# stop`."""

    kind: str
    way: str
    stop: str
    stopped: tuple[str, ...]
    source: str

    @property
    def name(self) -> str:
        return f"{self.kind} · {self.way} · {self.stop} of {' and '.join(self.stopped)}"

    @property
    def marked(self) -> set[int]:
        return {number for number, line in enumerate(self.source.splitlines(), 1) if line.endswith(_MARK)}


def mutants(per_pair: int | None = None) -> Iterator[Mutant]:
    """Yield mutants: for each kind and way `per_pair` stops, dealt like cards; every stop when None."""
    cards = [(stop, stopped) for stop in STOPS for stopped in _TARGETS]
    dealer, deck = Random(0), list[tuple[str, tuple[str, ...]]]()
    for kind in KINDS:
        for way in (*WAYS, LATE):
            if per_pair is None:
                yield from (compose(kind, way, stop, stopped) for stop, stopped in cards)
                continue
            for _ in range(per_pair):
                if not deck:
                    deck = dealer.sample(cards, len(cards))
                yield compose(kind, way, *deck.pop())


def compose(kind: str, way: str, stop: str, wanted: tuple[str, ...]) -> Mutant:
    """Write the module of a kind, a way and a stop of the wanted statistics (of those that the kind has)."""
    parts, how = KINDS[kind], STOPS[stop]
    present = [name for name in ("mean", "spread") if _expression(parts, name)]
    stopped = tuple(name for name in wanted if name in present) or tuple(present)
    tensor = "t" if parts.before else "x"
    late = way == LATE

    def of(at: str) -> list[Piece]:
        return [
            with_stop(name, _expression(parts, name), Stop() if late or name not in stopped else how, at)
            for name in present
        ]

    statistics = Statistics(tensor, of)
    travel = WAYS["own line" if late else way](statistics)
    uses = {name: name for name in present} | travel.uses
    scale = parts.scale.replace("{v}", _term(uses.get("spread", ""))).replace("{m}", _term(uses.get("mean", "")))
    body = parts.before + travel.body
    tops, methods = [travel.top], [travel.methods]
    for name in stopped:
        expression = "x" if late else _expression(parts, name).replace("{t}", how.tensor.replace("{t}", "x"))
        fill = {"{name}": f"used_{name}" if late else name, "{e}": _term(expression)}
        tops.append(_filled(how.definition, fill))
        methods.append(_filled(how.method, fill))
    if parts.update:
        body += parts.update.replace("{m}", _term(uses["mean"])).replace("{v}", _term(uses["spread"]))
    if late:
        for name in stopped:
            piece = with_stop(f"used_{name}", uses["mean"] if name == "mean" else scale, how, "")
            body += piece.lines
            if name == "mean":
                uses["mean"] = piece.value
            else:
                scale = piece.value
    result = (
        parts.result.replace("{t}", tensor).replace("{m}", _term(uses.get("mean", ""))).replace("{d}", _term(scale))
    )
    text = _module(parts, dict.fromkeys(tops), travel.base, dict.fromkeys(methods), f"{body}return {result}\n")
    return Mutant(kind, way, stop, stopped, _marked(text))


def _expression(kind: Kind, name: str) -> str:
    return (kind.mean if name == "mean" else kind.spread) or ""


def with_stop(name: str, expression: str, stop: Stop, tensor: str) -> Piece:
    fill = {"{e}": _term(expression.replace("{t}", stop.tensor)), "{t}": tensor or expression, "{name}": name}
    return Piece(name, _filled(stop.lines, fill), name if stop.lines else _filled(stop.value, fill))


def _filled(text: str, fill: dict[str, str]) -> str:
    for key, value in fill.items():
        text = text.replace(key, value)
    return text


def _term(expression: str) -> str:
    """Put an expression into parentheses where an operator stands outside of any."""
    outside = expression
    while (inner := re.sub(r"\([^()]*\)|\[[^\[\]]*\]", "", outside)) != outside:
        outside = inner
    return f"({expression})" if " " in outside.strip() else expression


def _module(kind: Kind, tops: dict[str, None], base: str, methods: dict[str, None], body: str) -> str:
    channels = kind.shape[-1] if len(kind.shape) == 2 or "layer" in kind.result else kind.shape[1]
    if kind.result.startswith("self.weight") or kind.result.endswith("* self.weight"):
        channels = kind.shape[-1]
    inherits = "Base" if base else "nn.Module"
    text = "".join(f"\n\n{top}" for top in tops if top)
    if base:
        text += f"\n\nclass Base(nn.Module):\n{indent(base)}"
    text += (
        f"\n\nclass Norm({inherits}):\n    def __init__(self, frozen=False):\n        super().__init__()\n"
        "        self.eps, self.frozen = 1e-5, frozen\n"
        f"        self.weight = nn.Parameter(torch.linspace(0.5, 1.5, {channels}))\n"
        f"        self.bias = nn.Parameter(torch.linspace(-1.0, 1.0, {channels}))\n"
    )
    if kind.update:
        text += (
            f'        self.register_buffer("running_mean", torch.zeros({channels}))\n'
            f'        self.register_buffer("running_var", torch.ones({channels}))\n'
        )
    if "self.statistics(" in body and "class Statistics" in text:
        text += "        self.statistics = Statistics()\n"
    text += "".join(f"\n{indent(method)}" for method in methods if method)
    text += f"\n    def forward(self, x{', frozen=False' if 'if frozen' in body else ''}):\n{indent(indent(body))}"
    imports = "".join(f"import {name}\n" for name in _STANDARD if f"{name}." in text)
    imports += "import numpy as np\n" if "np." in text else ""
    later = "from torch.autograd import Variable\n" if "Variable(" in text else ""
    return imports + _IMPORTS + later + text


def _marked(text: str) -> str:
    lines = text.splitlines()
    return "\n".join(line.replace("§", "") + f"  {_MARK}" if "§" in line else line for line in lines) + "\n"


def gradient_error(mutant: Mutant) -> float:
    """How far autograd is from finite differences of the same layer in float64, relative, at the best of some steps.

    The cotangent is normal and not centered: a centered one would hide a stopped mean.
    """
    names: dict[str, object] = {"__name__": "mutant"}
    exec(compile(mutant.source, "mutant.py", "exec"), names)
    layer = names["Norm"]().double().train()  # type: ignore[operator]
    generator = torch.Generator().manual_seed(3)
    shape = KINDS[mutant.kind].shape
    x, direction, cotangent = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    x = x * 0.7 + 0.4

    def value(at: torch.Tensor) -> torch.Tensor:
        return (layer(at) * cotangent).sum()

    live = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(live), live)
    analytic = (gradient * direction).sum().item()
    errors = []
    for step in (1e-4, 1e-5, 1e-6):
        numeric = (value(x + step * direction) - value(x - step * direction)).item() / (2 * step)
        errors.append(abs(analytic - numeric) / max(abs(numeric), abs(analytic)))
    return min(errors)
