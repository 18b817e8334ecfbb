"""What each command does: sort the targets, run the engines, hand the findings to a report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnlint.cache import clean as remove_cache
from bnlint.config import KEYS, Config, as_toml, require_known
from bnlint.errors import InputError, UsageError
from bnlint.finding import Finding
from bnlint.known import unknown, write_baseline
from bnlint.pages import load_pages
from bnlint.reader import Reader
from bnlint.report import statistics
from bnlint.settings import Settings
from bnlint.shell import Paper, mild, relative, summarize
from bnlint.sources import Sources
from bnlint.targets import Targets, sort_targets

if TYPE_CHECKING:
    from bnlint.source.files import FixedFile


def check(targets: Sequence[str], **options: Any) -> int:
    """Check targets of any kind and print the findings; return the exit code."""
    settings, sorted_targets = Settings(options), _sorted(targets, options)
    _require_sensible(sorted_targets, settings)
    sources = _sources(sorted_targets, settings)
    paper = Paper(settings.base.output_format, options["color"], options["output_file"])
    if options["show_files"]:
        paper.say("\n".join(str(path) for path in sources.files))
        return 0
    seen = _find(sorted_targets, sources, settings)
    if options["write_baseline"]:
        return write_baseline(seen.findings, sources.reader, settings)
    found = unknown(seen.findings, sources.reader, sources, settings)
    if options["statistics"]:
        paper.say(statistics.render(found, paper.output_format))
    else:
        paper.report(found, sources.reader)
    _conclude(found, seen, sources, settings)
    if seen.unreadable:
        return 2
    return 0 if options["exit_zero"] else _exit_code(found, settings)


def fix(
    targets: Sequence[str],
    *,
    diff: bool,
    output: Path | None,
    in_place: bool,
    adopt_torch_conventions: bool,
    certificate: Path | None,
    **options: Any,
) -> int:
    """Fix source files and repair checkpoints; return the exit code."""
    settings, sorted_targets = Settings(options), _sorted(targets, options)
    _require_fixable(sorted_targets, diff)
    code = 0
    if sorted_targets.sources or sorted_targets.stdin:
        code = _fix_sources(_sources(sorted_targets, settings), settings, diff=diff)
    for path in sorted_targets.checkpoints:
        if output is None and not in_place:
            raise UsageError(
                "say where to write the repaired checkpoint",
                where=str(path),
                hint=f"bnlint fix {path} -o {path.with_name(path.stem + '-repaired' + path.suffix)}, or --in-place",
            )
        from bnlint import runtime

        runtime.fix(path, output or path, options, adopt=adopt_torch_conventions, certificate=certificate)
    return code


def rule(code: str | None, every: bool) -> int:
    """Print one rule page, every page, or the list of rules."""
    from rich.markdown import Markdown

    pages = load_pages()
    paper = Paper().console()
    if code is None and not every:
        for page in pages.values():
            click.echo(f"{page.code}  {page.name:<28} {page.severity:<8} {page.summary}")
        return 0
    if code is not None and code.upper() not in pages:
        require_known(Config(select=(code,)), pages)
        raise UsageError(f"`{code}` is a family of rules", hint="bnlint rule lists them")
    for page in pages.values():
        if every or (code is not None and page.code == code.upper()):
            head = (
                f"# {page.code} {page.name}\n\n*{page.severity}* · seen by the {' and the '.join(page.engines)} check"
            )
            text = f"{head} · since {page.since}\n\n{page.text}"
            paper.print(Markdown(text)) if paper.is_terminal else click.echo(text)
    return 0


def config(path: Path, **options: Any) -> int:
    """Print the settings in force for a file or folder, each with the place that it comes from."""
    if not path.exists():
        raise InputError("no such file or folder", where=str(path))
    settings = Settings(options)
    full = path.resolve()
    found = settings.of_folder(full if full.is_dir() else full.parent)
    click.echo(f"# {found.file or 'no configuration file: the defaults'}")
    for key in KEYS:
        click.echo(as_toml(found, key) + ("" if key in found.given else "  # default"))
    return 0


def clean(**options: Any) -> int:
    """Remove the cache."""
    folder = Settings(options).cache
    if folder is None:
        return 0
    try:
        count = remove_cache(folder)
    except OSError as error:
        raise InputError(f"cannot be removed: {error.strerror or error}", where=str(folder)) from error
    click.echo(f"{folder}: removed {count} entr{'y' if count == 1 else 'ies'}" if count else "no cache", err=True)
    return 0


def _sorted(targets: Sequence[str], options: Mapping[str, Any]) -> Targets:
    found = sort_targets(targets)
    if options["stdin_filename"] and not found.stdin:
        raise UsageError("--stdin-filename names the source on stdin", hint="add the target `-`")
    return found


def _sources(targets: Targets, settings: Settings) -> Sources:
    if not (targets.sources or targets.stdin):
        return Sources([])
    from bnlint.sources import find

    return find(targets, settings)


def _require_sensible(targets: Targets, settings: Settings) -> None:
    """Refuse combinations of options that no run can satisfy."""
    options, base = settings.options, settings.base
    reason = options["add_ignores"]
    if options["statistics"] and base.output_format not in statistics.FORMATS:
        raise UsageError(
            f"--statistics has no {base.output_format} format", hint=f"there are {', '.join(statistics.FORMATS)}"
        )
    if options["write_baseline"] and settings.baseline is None:
        raise UsageError(
            "say where the baseline is", hint="bnlint check --baseline bnlint-baseline.json --write-baseline"
        )
    if reason is not None and (not reason.strip() or len(reason.splitlines()) > 1):
        raise UsageError(
            "--add-ignores wants a reason, in one line", hint='bnlint check --add-ignores "frozen on purpose"'
        )
    if not (options["fix"] or reason is not None):
        return
    if options["fix"] and reason is not None:
        raise UsageError("--fix and --add-ignores change the same lines", hint="run bnlint fix first")
    if targets.models:
        raise UsageError("--fix and --add-ignores change source", hint="repair a checkpoint with bnlint fix model.pt")
    if targets.stdin:
        raise UsageError("what comes on stdin has no file to change", hint="bnlint fix - prints the result")


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the engines saw: findings, what was looked at in words, functions that were lost, files not read."""

    findings: list[Finding]
    told: list[str]
    lost: Sequence[tuple[Path, str]] = ()
    unreadable: Sequence[InputError] = ()


def _find(targets: Targets, sources: Sources, settings: Settings) -> _Seen:
    """Run the engines."""
    options = settings.options
    seen = _Seen([], [])
    if targets.sources or targets.stdin:
        seen = _in_source(sources, settings)
    if targets.models:
        from bnlint import runtime

        measured, told = runtime.check(targets, options)
        found = [*seen.findings, *(finding for finding in measured if settings.wanted(finding))]
        seen = replace(seen, findings=found, told=[*seen.told, told])
    return replace(seen, findings=[relative(finding) for finding in seen.findings])


def _in_source(sources: Sources, settings: Settings) -> _Seen:
    from bnlint import sources as static

    options, told = settings.options, [sources.told]
    if options["fix"]:
        fixed = static.fix(sources, settings, write=True)
        return _Seen([finding for file in fixed for finding in file.left], [*told, _fixed(fixed, "fixed")])
    if options["add_ignores"] is not None:
        return _Seen(static.suppress(sources, settings, options["add_ignores"], options["quiet"]), told)
    checked = static.check(sources, settings, options["quiet"])
    return _Seen(list(checked.findings), told, checked.lost, checked.unreadable)


def _conclude(found: Sequence[Finding], seen: _Seen, sources: Sources, settings: Settings) -> None:
    """Say on stderr what was looked at and what to do next; with --verbose, also with which settings."""
    for error in seen.unreadable:
        click.echo(f"error: {error}", err=True)
    if settings.options["verbose"]:
        for file in [str(path) for path in settings.files] or ["none, the defaults"]:
            click.echo(f"configuration: {file}", err=True)
        for path in sources.files:
            click.echo(f"checked: {path}", err=True)
        for path, symbol in seen.lost:
            click.echo(f"not followed: {symbol} in {path}", err=True)
        count = len(seen.lost)
        click.echo(
            f"{count} function{'s' * (count != 1)} not followed to the end: nothing is said about them", err=True
        )
    if not settings.options["quiet"]:
        summarize(found, seen.told, settings.base.fail_on)


def _exit_code(found: Sequence[Finding], settings: Settings) -> int:
    return int(any(finding.severity.rank >= settings.base.fail_on.rank for finding in found))


def _require_fixable(targets: Targets, diff: bool) -> None:
    if targets.factories:
        raise UsageError(
            "a factory is code, and has no file to write a model to",
            where=targets.factories[0],
            hint="fix its source, or call bnlint.repair(model, *inputs) on the model",
        )
    if diff and targets.checkpoints:
        raise UsageError("--diff shows changes of source", hint=f"bnlint check {targets.checkpoints[0]}")
    if len(targets.checkpoints) > 1:
        raise UsageError("repair one checkpoint at a time")


def _fix_sources(sources: Sources, settings: Settings, *, diff: bool) -> int:
    from bnlint import sources as static

    options = settings.options
    fixed = static.fix(sources, settings, write=not diff)
    if sources.text is not None and not diff:
        # Left out is not lost: a filter gives back what it does not change.
        sys.stdout.buffer.write(fixed[0].after if fixed else sources.text)
    reader = sources.reader if sources.text is None else Reader({str(file.path): file.after for file in fixed})
    left = unknown([relative(f) for file in fixed for f in file.left], reader, sources, settings)
    if diff:
        click.echo("".join(file.diff for file in fixed), nl=False)
    elif left:
        Paper(color=options["color"], stderr=sources.text is not None).report(left, reader)
    if not options["quiet"]:
        unsafe = sum(f.fix is not None and not f.fix.safe for f in left)
        automatic = "left without an automatic fix" if not unsafe else f"left, {unsafe} fixable with `--unsafe-fixes`"
        said = [_fixed(fixed, "would fix" if diff else "fixed"), *([f"{len(left)} {automatic}"] if left else [])]
        click.echo("; ".join([*said, *mild(left, settings.base.fail_on)]), err=True)
    return 1 if _exit_code(left, settings) or (diff and any(file.diff for file in fixed)) else 0


def _fixed(fixed: Sequence[FixedFile], verb: str) -> str:
    count = sum(len(file.findings) - len(file.left) for file in fixed)
    files = sum(file.before != file.after for file in fixed)
    return f"{verb} {count} finding{'s' * (count != 1)} in {files} file{'s' * (files != 1)}"
