"""Facts about a normalization other than the gradient of its statistics: its running statistics, its formula."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a trait says; each has its rule in the catalog."""


@dataclass(frozen=True, slots=True)
class Trait:
    """One fact at one place of a flow graph.

    Attributes:
        kind: What is so.
        subject: The buffer or statistic that it is about, as the code calls it.
        node: Where a finding about it stands.
        message: What a user should read.
        marks: Role, text and node of places that explain it.
    """

    kind: Kind
    subject: str
    node: int
    message: str
    marks: tuple[tuple[str, str, int], ...] = ()
