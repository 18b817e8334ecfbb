"""What ways to travel are written with: the statistics of a mutant as text, and pieces of modules."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Piece:
    """One statistic as text: statements, and the expression that is its value behind them."""

    name: str
    lines: str
    value: str


@dataclass(frozen=True)
class Statistics:
    """The statistics of a mutant: `of` renders them for a tensor; `stopped` puts the stop on any other expression."""

    tensor: str
    of: Callable[[str], list[Piece]]

    @property
    def names(self) -> list[str]:
        return [piece.name for piece in self.of("x")]

    @property
    def targets(self) -> str:
        return ", ".join(self.names) + ("," if len(self.names) == 1 else "")

    def lines(self, tensor: str | None = None) -> str:
        return "".join(piece.lines for piece in self.of(tensor or self.tensor))

    def values(self, tensor: str | None = None) -> list[str]:
        return [piece.value for piece in self.of(tensor or self.tensor)]

    def tuple_of(self, tensor: str | None = None) -> str:
        return f"({', '.join(self.values(tensor))},)"

    def keywords(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in zip(self.names, self.values(), strict=True))

    def entries(self) -> str:
        return ", ".join(f'"{name}": {value}' for name, value in zip(self.names, self.values(), strict=True))


@dataclass(frozen=True)
class Travel:
    """What a way to travel adds to a module; `uses` is what stands for each statistic where it is used."""

    body: str
    uses: dict[str, str] = field(default_factory=dict)
    top: str = ""
    methods: str = ""
    base: str = ""


def indent(text: str) -> str:
    return textwrap.indent(text, "    ")


def define(s: Statistics, name: str, *, owned: bool = False, result: str = "return {}\n") -> tuple[str, str]:
    """A function that returns the statistics of `x` as a tuple, and its call."""
    body = s.lines("x") + result.format(s.tuple_of("x"))
    extra = ", frozen=False" if re.search(r"(?<!\.)\bfrozen\b", body) else ""
    needs_self = not owned and "self." in body
    head = f"def {name}({'self, ' if owned or needs_self else ''}x{extra}):\n"
    call = f"{'self.' if owned else ''}{name}({'self, ' if needs_self else ''}{s.tensor})"
    return head + indent(body), call


def assigned(s: Statistics, each: str = "{value}", before: str = "") -> str:
    """One assignment per statistic."""
    pairs = zip(s.names, s.values(), strict=True)
    return s.lines() + before + "".join(f"{name} = {each.format(value=value, name=name)}\n" for name, value in pairs)


def then(s: Statistics, *lines: str) -> str:
    """One assignment per statistic, and statements on each."""
    return assigned(s) + "".join(line.replace("NAME", name) + "\n" for name in s.names for line in lines)


def entries_of(s: Statistics, text: str) -> dict[str, str]:
    return {name: text.format(name=name, position=position) for position, name in enumerate(s.names)}
