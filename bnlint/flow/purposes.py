"""Why a stopped statistic may be meant, or do little harm: the reason is told, and the finding is not an error."""

from __future__ import annotations

from dataclasses import dataclass

from bnlint.finding import Severity


@dataclass(frozen=True, slots=True)
class Purpose:
    """A reason why a stop is less than an error, and how much less.

    Attributes:
        severity: `note` for a stop on purpose or without effect, `warning` for bounded harm.
        reason: The reason, as the finding's message ends.
    """

    severity: Severity
    reason: str


REAPPLIED = Purpose(Severity.NOTE, "meant: it is given back after it was taken out, as in reversible normalization")
