"""What each command does: sort the targets, run the engines, hand the findings to a report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnlint import __version__
from bnlint.cache import clean as remove_cache
from bnlint.config import KEYS
from bnlint.configtext import as_toml
from bnlint.errors import InputError, UsageError, needing, one_line, told
from bnlint.finding import Finding
from bnlint.known import read_baseline, unknown, write_baseline
from bnlint.overview import Overview
from bnlint.paths import exists
from bnlint.reader import Reader
from bnlint.report import statistics
from bnlint.sensible import require_checkable, require_fixable, require_other_output
from bnlint.settings import Settings
from bnlint.shell import Paper, mild, relative, summarize
from bnlint.source.spelling import absolute
from bnlint.sources import Sources
from bnlint.targets import Targets, sort_targets

if TYPE_CHECKING:
    from bnlint.source.fixing import FixedFile

#: the keys that a variable can set, and its name
ENVIRONMENT = {"output-format": "BNLINT_OUTPUT_FORMAT", "cache-dir": "BNLINT_CACHE_DIR"}


def check(targets: Sequence[str], **options: Any) -> int:
    """Check targets of any kind and print the findings, again after each change if asked; return the exit code."""
    settings, sorted_targets = Settings(options), _sorted(targets, options)
    require_checkable(sorted_targets, settings)
    if not options["watch"]:
        return _check(sorted_targets, settings)
    from bnlint.again import require_watchable, watch

    require_watchable(sorted_targets, options)

    def files() -> Sequence[Path]:
        return _sources(sorted_targets, Settings(options)).files

    return watch(sorted_targets.sources, files, lambda: _check(sorted_targets, Settings(options)), options["quiet"])


def _check(sorted_targets: Targets, settings: Settings) -> int:
    options = settings.options
    sources = _sources(sorted_targets, settings)
    paper = Paper(settings.base.output_format, options["color"], options["output_file"], pages=settings.pages)
    if options["show_files"]:
        paper.say("\n".join(str(path) for path in sources.files))
        return 0
    precious = [*sources.files, *sorted_targets.checkpoints, *options["code"]]
    require_other_output(precious, options["output_file"], options["report"])
    known = read_baseline(settings)
    seen = _find(sorted_targets, sources, settings)
    if options["write_baseline"]:
        return write_baseline(seen.findings, sources.reader, settings)
    found = unknown(seen.findings, known, sources.reader, sources, settings)
    if options["report"] is not None:
        from bnlint.modelreport import write_report

        write_report(options["report"], seen.overview, found, sources.reader, settings=settings, targets=sorted_targets)
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
    require_fixable(
        sorted_targets, diff=diff, output=output, in_place=in_place, certificate=certificate, options=options
    )
    code = 0
    if sorted_targets.sources or sorted_targets.stdin:
        code = _fix_sources(_sources(sorted_targets, settings), settings, diff=diff)
    for path in sorted_targets.checkpoints:
        from bnlint import runtime

        runtime.fix(path, output or path, options, adopt=adopt_torch_conventions, certificate=certificate)
    return code


def config(path: Path, **options: Any) -> int:
    """Print the settings in force for a file or folder, each with the place that it comes from."""
    if not exists(path):
        raise InputError("no such file or folder", where=str(path))
    settings = Settings(options)
    full = path.resolve()
    found = settings.of_folder(full if full.is_dir() else full.parent)
    by = {key: f"  # --{key} or {name}" for key, name in ENVIRONMENT.items() if options[KEYS[key]]}
    if options["cache_dir"]:
        found = replace(found, cache_dir=str(options["cache_dir"]))
    click.echo(f"# {found.file or 'no configuration file: the defaults'}")
    for key in KEYS:
        click.echo(as_toml(found, key) + by.get(key, "" if key in found.given else "  # default"))
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


def server() -> int:
    """Serve an editor until it says that this is the end; return the exit code."""
    with needing("server", "the language server needs", "pygls", "lsprotocol"):
        from bnlint.server.protocol import serve
    return serve(__version__)


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


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the engines saw: findings, what was looked at in words, functions that were lost, files not read, layers."""

    findings: list[Finding]
    told: list[str]
    lost: Sequence[tuple[Path, str]] = ()
    unreadable: Sequence[InputError] = ()
    overview: Overview = field(default_factory=Overview)


def _find(targets: Targets, sources: Sources, settings: Settings) -> _Seen:
    """Run the engines."""
    options = settings.options
    seen = _Seen([], [])
    if targets.sources or targets.stdin:
        seen = _in_source(sources, settings)
    if targets.models:
        from bnlint import runtime

        models = runtime.check(targets, options)
        found = [*seen.findings, *(finding for finding in models.findings if settings.wanted(finding))]
        seen = replace(seen, findings=found, told=[*seen.told, models.told], overview=models.overview)
    return replace(seen, findings=[relative(finding) for finding in seen.findings])


def _in_source(sources: Sources, settings: Settings) -> _Seen:
    from bnlint import sources as static

    options, told = settings.options, [sources.told]
    failures = list(sources.unreadable)
    if options["fix"]:
        fixed = static.fix(sources, settings, write=True, failed=failures.append)
        told = [*told, _fixed(fixed, "fixed")]
        return _Seen([finding for file in fixed for finding in file.left], told, unreadable=failures)
    if options["add_ignores"] is not None:
        reason, quiet = options["add_ignores"], options["quiet"]
        left = static.suppress(sources, settings, reason, quiet, failures.append)
        return _Seen(left, told, unreadable=failures)
    checked = static.check(sources, settings, options["quiet"])
    return _Seen(list(checked.findings), told, checked.lost, checked.unreadable)


def _conclude(found: Sequence[Finding], seen: _Seen, sources: Sources, settings: Settings) -> None:
    """Say on stderr what was looked at and what to do next; with --verbose, also with which settings."""
    for error in seen.unreadable:
        click.echo(told(error), err=True)
    if settings.options["verbose"]:
        for file in [str(path) for path in settings.files] or ["none, the defaults"]:
            click.echo(f"configuration: {one_line(file)}", err=True)
        for path in sources.files:
            click.echo(f"checked: {one_line(str(path))}", err=True)
        for path, symbol in seen.lost:
            click.echo(f"not followed: {symbol} in {one_line(str(path))}", err=True)
        count = len(seen.lost)
        click.echo(
            f"{count} function{'s' * (count != 1)} not followed to the end: nothing is said about them", err=True
        )
    if not settings.options["quiet"]:
        summarize(found, seen.told, settings.base.fail_on)
        for used in _elsewhere(found, sources):
            click.echo(f"{one_line(used)} is used by what was named: name it too for its fixes", err=True)


def _elsewhere(found: Sequence[Finding], sources: Sources) -> list[str]:
    """Return the source files that have findings of source and are none of those that were checked."""
    places = {f.location.path: None for f in found if f.location is not None and f.module is None}
    return [path for path in places if absolute(Path(path)) not in sources.named]


def _exit_code(found: Sequence[Finding], settings: Settings) -> int:
    return int(any(finding.severity.rank >= settings.base.fail_on.rank for finding in found))


def _fix_sources(sources: Sources, settings: Settings, *, diff: bool) -> int:
    from bnlint import sources as static

    options, failures = settings.options, list(sources.unreadable)
    known = read_baseline(settings)
    fixed = static.fix(sources, settings, write=not diff, failed=failures.append)
    if sources.text is not None and not diff:
        # Left out is not lost: a filter gives back what it does not change.
        sys.stdout.buffer.write(fixed[0].after if fixed else sources.text)
    reader = sources.reader if sources.text is None else Reader({str(file.path): file.after for file in fixed})
    left = unknown([relative(f) for file in fixed for f in file.left], known, reader, sources, settings)
    if diff:
        click.echo("".join(file.diff for file in fixed), nl=False)
    elif left:
        Paper(color=options["color"], stderr=sources.text is not None).report(left, reader)
    for error in failures:
        click.echo(told(error), err=True)
    if not options["quiet"]:
        unsafe = sum(f.fix is not None and not f.fix.safe for f in left)
        automatic = "left without an automatic fix" if not unsafe else f"left, {unsafe} fixable with `--unsafe-fixes`"
        said = [_fixed(fixed, "would fix" if diff else "fixed"), *([f"{len(left)} {automatic}"] if left else [])]
        click.echo("; ".join([*said, *mild(left, settings.base.fail_on)]), err=True)
    if failures:
        return 2
    return 1 if _exit_code(left, settings) or (diff and any(file.diff for file in fixed)) else 0


def _fixed(fixed: Sequence[FixedFile], verb: str) -> str:
    count = sum(file.count for file in fixed)
    files = sum(file.before != file.after for file in fixed)
    return f"{verb} {count} finding{'s' * (count != 1)} in {files} file{'s' * (files != 1)}"
