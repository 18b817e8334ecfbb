"""Findings that are known: the baseline file of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bnlint import atomic
from bnlint import baseline as baselines
from bnlint.baseline import Baseline
from bnlint.config import selected
from bnlint.errors import UsageError
from bnlint.finding import Finding
from bnlint.settings import Settings
from bnlint.shell import write

if TYPE_CHECKING:
    from bnlint.reader import Reader
    from bnlint.sources import Sources


def read_baseline(settings: Settings) -> Baseline | None:
    """Read the baseline of the run, None where it has none or writes it: before the work, and before a fix.

    Raises:
        InputError: It cannot be read, or what is to be replaced by a baseline is something else.
    """
    file = settings.baseline
    if file is None or not settings.options.get("write_baseline"):
        return baselines.read(file) if file is not None else None
    atomic.require_place(file)
    if file.is_file() and file.stat().st_size:
        baselines.read(file)  # what the baseline replaces must be one
    return None


def unknown(
    found: list[Finding], known: Baseline | None, reader: Reader, sources: Sources, settings: Settings
) -> list[Finding]:
    """Return the findings that are not in the baseline, and say which of its entries match nothing any more."""
    if known is None:
        return found
    looked_at = {path.resolve() for path in sources.files}
    stale = known.stale(found, reader.at, lambda path: path.resolve() in looked_at)
    stale = [entry for entry in stale if selected(settings.base, entry.code)]
    if stale and not settings.options["quiet"]:
        listed = ", ".join(f"{entry.code} in {entry.path}" for entry in stale)
        entries = "1 entry no longer matches" if len(stale) == 1 else f"{len(stale)} entries no longer match"
        click.echo(f"{settings.baseline}: {entries}: {listed}; --write-baseline takes them out", err=True)
    return known.new(found, reader.at)


def write_baseline(found: Sequence[Finding], reader: Reader, settings: Settings) -> int:
    """Make all findings known, and return the exit code."""
    file = settings.baseline
    if file is None:
        raise UsageError("say where the baseline is")
    write(file, baselines.render(baselines.of(found, reader.at, file.resolve().parent)))
    if not settings.options["quiet"]:
        click.echo(f"{file}: {len(found)} finding{'s' * (len(found) != 1)} known from now on", err=True)
    return 0
