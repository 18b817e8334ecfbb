"""What a check of one file gives."""

from __future__ import annotations

from dataclasses import dataclass

from bnlint.finding import Finding


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found, and the functions whose flow it lost."""

    findings: tuple[Finding, ...] = ()
    lost: tuple[str, ...] = ()
