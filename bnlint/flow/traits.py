"""What can be said of a normalization: the gradient of its statistics, its running statistics, its formula."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnlint.flow.purposes import Purpose


class Gradient(StrEnum):
    """What is known of the gradient of a statistic."""

    FLOWS = "flows"
    STOPPED = "stopped"
    UNKNOWN = "unknown"


class Kind(StrEnum):
    """What a trait says; each has its rule in the catalog."""

    RUNNING_IN_TRAINING = "running statistics normalize in training"
    KEEPS_GRAPH = "running statistic keeps its graph"
    NOT_A_BUFFER = "running statistic is not a buffer"
    NEVER_UPDATED = "running statistics are never updated"
    BATCH_IN_EVAL = "batch statistics normalize in evaluation"
    BIASED = "running variance is biased"
    MOMENTUM_REVERSED = "momentum is reversed"
    UNBIASED = "unbiased variance normalizes"
    EPS = "eps does not keep the divisor from zero"
    AXES = "statistic over the wrong dimensions"
    CANCELLING = "variance cancels"


@dataclass(frozen=True, slots=True)
class Trait:
    """One fact at one place of a flow graph.

    Attributes:
        kind: What is so.
        subject: The buffer or statistic that it is about, as the code calls it.
        node: Where a finding about it stands.
        message: What a user should read.
        marks: Role, text and node of places that explain it.
        purpose: Why it is meant or does little harm, None where nothing says so.
        operand: The node of the expression that a fix changes, None where there is no fix.
    """

    kind: Kind
    subject: str
    node: int
    message: str
    marks: tuple[tuple[str, str, int], ...] = ()
    purpose: Purpose | None = None
    operand: int | None = None
