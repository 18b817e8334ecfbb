"""The console around the commands: reports on stdout, what was looked at and how far it is on stderr."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from bnlint import __version__, atomic
from bnlint.errors import AssumptionWarning, CaptureWarning, InputError, UsageError, one_line
from bnlint.finding import Finding, Severity, SourceLocation
from bnlint.paths import exists, is_file, is_folder

if TYPE_CHECKING:
    from rich.console import Console

    from bnlint.pages import Page
    from bnlint.reader import Reader


@dataclass(frozen=True, slots=True)
class Paper:
    """Where findings are printed: stdout, stderr, or the file `output`; `color` is auto, always or never.

    `pages` reads the pages of the rules, for formats that quote them.
    """

    output_format: str = "full"
    color: str = "auto"
    output: Path | None = None
    stderr: bool = False
    pages: Callable[[], Mapping[str, Page]] = dict

    def console(self, file: IO[str] | None = None) -> Console:
        """Return a console on the stream, or on a file."""
        from rich.console import Console

        from bnlint.report.text import WIDEST_IN_A_FILE

        plain = self.color == "never" or (self.color == "auto" and (file is not None or os.environ.get("NO_COLOR")))
        fixed: dict[str, Any] = {"file": file, "stderr": self.stderr, "highlight": False}
        if self.color == "always":
            fixed |= {"force_terminal": True, "no_color": False, "color_system": "standard"}
        elif plain:  # neither colors nor bold
            fixed |= {"color_system": None, "force_terminal": False if file is not None else None}
        console = Console(**fixed)
        if not console.width:  # COLUMNS=0, and what editors call a terminal
            console.width = 80
        if console.is_terminal and not console.file.isatty() and "COLUMNS" not in os.environ:
            console.width = WIDEST_IN_A_FILE  # the log of a CI run, in color
        return console

    def report(self, findings: Sequence[Finding], reader: Reader) -> None:
        """Print findings in the output format.

        Raises:
            InputError: The file cannot be written.
        """
        if self.output_format == "full":
            self._print(findings, reader)
        else:
            self.say(_document(findings, self.output_format, reader, self.pages))

    def say(self, text: str) -> None:
        """Print a text that needs no console."""
        if self.output is not None:
            write(self.output, f"{text}\n" if text else "")
        elif text:
            click.echo(text)

    def _print(self, findings: Sequence[Finding], reader: Reader) -> None:
        if self.output is None:
            if findings:
                _full(findings, reader, self.console())
            return
        buffer = io.StringIO()
        _full(findings, reader, self.console(buffer))
        write(self.output, buffer.getvalue())


def _full(findings: Sequence[Finding], reader: Reader, paper: Console) -> None:
    from bnlint.report import models, text

    measured = [f for f in findings if f.module is not None]
    text.render([f for f in findings if f.module is None], reader.text, paper, reader.fixed)
    if measured:
        models.render(measured, paper)
        told = {f.location.path for f in findings if f.module is None and f.location is not None}
        untold = [f for f in measured if f.location is not None and f.location.path not in told]
        text.render_marks(untold, reader.text, paper)


def _document(
    findings: Sequence[Finding], output_format: str, reader: Reader, pages: Callable[[], Mapping[str, Page]]
) -> str:
    """Turn findings into the text of a format that is not for people."""
    match output_format:
        case "concise":
            from bnlint.report import concise

            return concise.render(findings)
        case "json":
            from bnlint.report import json

            return json.render(findings)
        case "json-lines":
            from bnlint.report import json_lines

            return json_lines.render(findings)
        case "github":
            from bnlint.report import github

            return github.render(findings, reader.in_file)
        case "gitlab":
            from bnlint.report import gitlab

            return gitlab.render(findings, reader.at, reader.in_file)
        case "junit":
            from bnlint.report import junit

            return junit.render(findings)
        case "sarif":
            from bnlint.report import sarif

            return sarif.render(findings, pages(), reader.at, __version__, reader.in_file)
    raise UsageError(f"no output format is called `{output_format}`")


def summarize(findings: Sequence[Finding], told: Sequence[str], fail_on: Severity = Severity.WARNING) -> None:
    """Say on stderr what was looked at and what to do next."""
    safe, unsafe = (sum(f.fix is not None and f.fix.safe is kind for f in findings) for kind in (True, False))
    count = f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "no findings"
    hints = [f"{safe} fixable with `bnlint fix`"] * bool(safe)
    hints += [f"{unsafe}{' more' * bool(safe)} fixable with `bnlint fix --unsafe-fixes`"] * bool(unsafe)
    click.echo("; ".join([f"{count} ({', '.join(told)})", *hints, *mild(findings, fail_on)]), err=True)


def mild(findings: Sequence[Finding], fail_on: Severity) -> list[str]:
    """Say which findings do not fail the run, if there are any."""
    counts = Counter(finding.severity for finding in findings if finding.severity.rank < fail_on.rank)
    listed = [f"{counts[each]} {each}{'s' * (counts[each] != 1)}" for each in Severity if counts[each]]
    many = counts.total() != 1
    return [f"{' and '.join(listed)} do{'es' * (not many)} not fail the run"] if listed else []


@contextlib.contextmanager
def told_warnings(quiet: bool = False) -> Iterator[None]:
    """Tell bnlint's own warnings in one line each on stderr; those of the user's code stay as they are.

    With `quiet`, what was assumed is not told.
    """
    shown = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if quiet and issubclass(category, AssumptionWarning):
            return
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


def warn_of_cache(folder: Path) -> None:
    """Say that nothing can be kept in the folder of the cache, or in which it would be made: the next run is slow."""
    place = next(each for each in (folder, *folder.absolute().parents) if exists(each))
    if not is_folder(place) or not os.access(place, os.W_OK | os.X_OK):
        click.echo(f"warning: no cache can be kept in {one_line(str(folder))}", err=True)


def relative(finding: Finding) -> Finding:
    """Tell paths below the current folder relative to it."""
    here = Path.cwd()

    def shown(location: SourceLocation) -> SourceLocation:
        path = Path(location.path)
        return replace(location, path=str(path.relative_to(here))) if path.is_relative_to(here) else location

    fix = finding.fix
    if fix is not None:
        fix = replace(fix, edits=tuple(replace(edit, location=shown(edit.location)) for edit in fix.edits))
    return replace(
        finding,
        location=shown(finding.location) if finding.location else None,
        marks=tuple(replace(mark, location=shown(mark.location)) for mark in finding.marks),
        fix=fix,
    )


def write(path: Path, text: str) -> None:
    """Write a text file whole or not at all; into what is no file, such as /dev/null, it is written as it comes.

    Raises:
        InputError: It cannot be written.
    """
    content = text.encode(errors="surrogateescape")
    if exists(path) and not is_file(path):
        try:
            path.write_bytes(content)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror or error}", where=str(path)) from error
    else:
        atomic.write(path, lambda file: file.write(content))
