"""`check --watch`: check again whenever a file changes that the check reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bnlint.config import FILES
from bnlint.errors import BnlintError, InputError, UsageError, needing, told
from bnlint.source.discover import SUFFIXES
from bnlint.stamp import Stamp, stamp
from bnlint.targets import Targets

#: how many milliseconds pass before it is looked again whether something has changed
PAUSE = 200
#: changes that follow each other within so many milliseconds are one
BURST = 50
#: files that say what is checked, and how
_SETTINGS = (*FILES, ".gitignore")


def require_watchable(targets: Targets, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be checked again and again.

    Raises:
        UsageError: Saying what.
    """
    once = ("output_file", "write_baseline", "add_ignores", "show_files")
    given = next((name.replace("_", "-") for name in once if options[name] not in (None, False)), None)
    if given is not None:
        raise UsageError(f"--watch and --{given} do not go together", hint="leave one of them out")
    if targets.stdin:
        raise UsageError("--watch reads files again, and stdin can be read once", hint="name files or folders")
    if targets.models:
        raise UsageError("--watch is for source", hint="leave models and checkpoints out")


def watch(
    targets: Sequence[Path], files: Callable[[], Sequence[Path]], check: Callable[[], object], quiet: bool
) -> int:
    """Check now and after each change, until Ctrl-C; return the exit code.

    Args:
        targets: The files and folders that were named.
        files: Finds the files below them that are checked.
        check: Checks them and prints what it finds.
        quiet: Whether to print findings only.

    Raises:
        BnlintError: watchfiles is not installed, the targets cannot be watched, or the first check fails; a later one
            that fails is told, and followed by others.
    """
    known = {path.resolve() for path in files()}
    try:
        for changed in _changes(targets):
            now = known if changed is None else _found(files, known)
            if changed is None:
                _shown(check, quiet)
            elif any(_counts(path, known | now) for path in changed):
                _shown(lambda: _or_told(check), quiet)
            known = now
    except KeyboardInterrupt:
        pass
    return 0


def _shown(check: Callable[[], object], quiet: bool) -> None:
    click.clear()
    check()
    if not quiet:
        click.echo(f"{time.strftime('%H:%M:%S')} waiting for changes, Ctrl-C to end", err=True)


def _or_told(check: Callable[[], object]) -> None:
    try:
        check()
    except BnlintError as error:
        click.echo(told(error), err=True)


def _found(files: Callable[[], Sequence[Path]], known: set[Path]) -> set[Path]:
    try:
        return {path.resolve() for path in files()}
    except BnlintError:  # the check tells it
        return known


def _counts(path: Path, files: Collection[Path]) -> bool:
    """Whether a change of a path can change what is found in these files."""
    return path in files or (path.name in _SETTINGS and any(path.parent in file.parents for file in files))


def _changes(targets: Sequence[Path]) -> Iterator[set[Path] | None]:
    """Yield None when watching has begun, and then the source and configuration files that have changed.

    Folders are watched. Files that were named, and configurations above, are looked at now and then: to watch the
    folders that they lie in could mean to watch a whole disk.
    """
    with needing("watch", "--watch needs", "watchfiles"):
        from watchfiles import watch as events

    folders = [target.resolve() for target in targets if target.is_dir()]
    parents = {parent for target in targets for parent in target.resolve().parents}
    single = {target.resolve() for target in targets} | {folder / name for folder in parents for name in _SETTINGS}
    states: dict[Path, Stamp] = {}
    try:
        for batch in events(*folders, watch_filter=_source, step=BURST, rust_timeout=PAUSE, yield_on_timeout=True):
            before, states = states, {path: stamp(path) for path in single}
            changed = {Path(path) for _, path in batch} | {path for path in before if before[path] != states[path]}
            if changed or not before:
                yield changed if before else None
    except (OSError, RuntimeError) as error:
        raise InputError(f"cannot be watched: {error}", where=", ".join(map(str, targets))) from error


def _source(_: object, path: str) -> bool:
    return path.endswith((*SUFFIXES, *_SETTINGS))
