"""The console around the commands: reports on stdout, what was looked at and how far it is on stderr."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnlint import atomic
from bnlint.errors import CaptureWarning
from bnlint.finding import Finding, SourceLocation

if TYPE_CHECKING:
    from rich.console import Console


def console() -> Console:
    """Return the console for stdout."""
    from rich.console import Console

    return Console(highlight=False)


def report(findings: Sequence[Finding], output_format: str) -> None:
    """Print findings on stdout: `full`, `concise` or `json`."""
    if output_format == "json":
        from bnlint.report import json

        click.echo(json.render(findings))
    elif output_format == "concise":
        from bnlint.report import concise

        if findings:
            click.echo(concise.render(findings))
    elif findings:
        from bnlint.report import models, text

        paper = console()
        measured = [f for f in findings if f.module is not None]
        text.render([f for f in findings if f.module is None], _read_text, paper)
        if measured:
            models.render(measured, paper)
            told = {f.location.path for f in findings if f.module is None and f.location is not None}
            untold = [f for f in measured if f.location is not None and f.location.path not in told]
            text.render_marks(untold, _read_text, paper)


def _read_text(path: str) -> str | None:
    from bnlint.source.text import SourceText

    try:
        return SourceText.decode(Path(path).read_bytes()).text
    except (OSError, ValueError, SyntaxError):
        return None


def summarize(findings: Sequence[Finding], told: Sequence[str]) -> None:
    """Say on stderr what was looked at and what to do next."""
    fixable = sum(1 for f in findings if f.fix is not None and f.fix.safe)
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "no findings"
    hint = f"; {fixable} fixable with `bnlint fix`" if fixable else ""
    click.echo(f"{count} ({', '.join(told)}){hint}", err=True)


@contextlib.contextmanager
def told_warnings() -> Iterator[None]:
    """Tell bnlint's own warnings in one line each on stderr; those of the user's code stay as they are."""
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if issubclass(category, CaptureWarning):
            click.echo(f"warning: {message}", err=True)
        else:
            shown(message, category, *rest)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CaptureWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


@contextlib.contextmanager
def progress(total: int | None, what: str, quiet: bool) -> Iterator[Any]:
    """Show a progress bar on a terminal's stderr, from the second second on."""
    if quiet or not sys.stderr.isatty():
        yield lambda _: None
        return
    from bnlint.report.progress import bar

    with bar(total, what) as advance:
        yield advance


def relative(finding: Finding) -> Finding:
    """Tell paths below the current folder relative to it."""

    def shown(location: SourceLocation) -> SourceLocation:
        path = Path(location.path)
        here = Path.cwd()
        return replace(location, path=str(path.relative_to(here))) if path.is_relative_to(here) else location

    return replace(
        finding,
        location=shown(finding.location) if finding.location else None,
        marks=tuple(replace(mark, location=shown(mark.location)) for mark in finding.marks),
    )


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Raises:
        InputError: It cannot be written.
    """
    atomic.write(path, lambda file: file.write(text.encode()))
