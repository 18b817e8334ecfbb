"""Findings that are known: the baseline file of a run."""

from __future__ import annotations

from collections.abc import Sequence

import click

from bnlint import baseline as baselines
from bnlint.config import selected
from bnlint.errors import InputError, UsageError
from bnlint.finding import Finding
from bnlint.reader import Reader
from bnlint.settings import Settings
from bnlint.shell import write
from bnlint.sources import Sources


def unknown(found: list[Finding], reader: Reader, sources: Sources, settings: Settings) -> list[Finding]:
    """Return the findings that are not in the baseline, and say which of its entries match nothing any more."""
    file = settings.baseline
    if file is None:
        return found
    try:
        known = baselines.parse(file.read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        what = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InputError(what, where=str(file), hint="write it with --write-baseline") from error
    looked_at = {path.resolve() for path in sources.files}
    stale = known.stale(found, reader.at, lambda path: path.resolve() in looked_at)
    stale = [entry for entry in stale if selected(settings.base, entry.code)]
    if stale and not settings.options["quiet"]:
        listed = ", ".join(f"{entry.code} in {entry.path}" for entry in stale)
        entries = "1 entry no longer matches" if len(stale) == 1 else f"{len(stale)} entries no longer match"
        click.echo(f"{file}: {entries}: {listed}; --write-baseline takes them out", err=True)
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
