"""What an equation of `einsum` does: it sums one tensor, or the product of a tensor and another of its letters."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EQUATION = re.compile(r"\s*([a-zA-Z., ]+)->\s*([a-zA-Z. ]*)$")


@dataclass(frozen=True, slots=True)
class Einsum:
    """A sum over some dimensions of one tensor, or of a product of two.

    Attributes:
        letters: The dimensions that are summed or kept, in order; a dot stands for `...`.
        result: Those that are kept.
    """

    letters: str
    result: frozenset[str]

    @property
    def sums(self) -> bool:
        """Whether anything is summed: a product may only be spread, and a tensor laid out anew."""
        return self.result != set(self.letters)

    def summed(self, rank: int) -> tuple[int, ...]:
        """Return the dimensions that are summed, of a tensor of so many."""
        letters = self.letters.replace(".", "." * (rank - len(self.letters) + 1))
        return tuple(place for place, letter in enumerate(letters) if letter not in self.result)


def read_einsum(equation: str, operands: int) -> Einsum | None:
    """Read an equation for so many operands; None where it is a product of matrices, or anything but a sum."""
    match = _EQUATION.match(equation.replace("...", "."))
    if match is None:
        return None
    inputs = sorted((letters.replace(" ", "") for letters in match[1].split(",")), key=len, reverse=True)
    result, letters = frozenset(match[2].replace(" ", "")), set(inputs[0])
    if len(inputs) != operands or operands > 2 or not result <= letters or not set(inputs[-1]) <= letters:
        return None
    if any(len(set(each)) != len(each) for each in inputs):  # a diagonal
        return None
    if set(inputs[-1]) != letters != result:  # a sum with weights
        return None
    return Einsum(inputs[0], result)
