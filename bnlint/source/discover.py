"""From the paths that were named to the Python files that are read."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

from bnlint.errors import InputError

SUFFIXES = (".py", ".pyi")
DEFAULT_EXCLUDE = (
    *(".git", ".hg", ".svn", ".venv", "venv", "site-packages", "node_modules", "__pycache__", "__pypackages__"),
    *(".tox", ".nox", ".eggs", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".bnlint_cache", ".ipynb_checkpoints"),
    *("_build", "build", "dist"),
)


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Ignore patterns, read relative to the folder `base`."""

    base: Path
    spec: GitIgnoreSpec

    def verdict(self, path: str) -> bool | None:
        """Whether they ignore this absolute path (a folder ends in a separator); None where they are silent."""
        below = path.removeprefix(os.path.join(self.base, ""))  # noqa: PTH118 (Path drops the final separator)
        return self.spec.check_file(below).include if below and below != path else None


def discover(paths: Sequence[Path], *, exclude: Sequence[str] = (), respect_gitignore: bool = True) -> list[Path]:
    """Find the Python files below the given paths.

    What is named is read: a file or folder given by name is taken even where a pattern ignores it.
    Links to folders are followed only when they are named.

    Args:
        paths: Files and folders.
        exclude: More patterns to leave out, in the syntax of .gitignore, relative to the working folder.
        respect_gitignore: Whether .gitignore files count, those of enclosing folders up to the repository included.

    Returns:
        Each file once, in the order of the paths and sorted within a folder.

    Raises:
        InputError: If a path does not exist, cannot be read or is no Python source.
    """
    spec = _spec(exclude)
    found: dict[Path, Path] = {}
    for path in paths:
        for file in sorted(_walk(path, spec, respect_gitignore)) if _is_folder(path) else [_named_file(path)]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1)
        hint = f"did you mean `{path.parent / near[0]}`?" if near else "name a Python file or a folder of them"
        raise InputError("no such file or folder", where=str(path), hint=hint) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _named_file(path: Path) -> Path:
    if path.suffix not in SUFFIXES and not _has_python_shebang(path):
        raise InputError("not Python source", where=str(path), hint="name a .py or .pyi file, or a folder of them")
    return path


def _has_python_shebang(path: Path) -> bool:
    if not path.is_file():  # to open a pipe would wait for its writer
        return False
    try:
        with path.open("rb") as file:
            return re.match(rb"#!.*\bpython", file.readline(200)) is not None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path))


def _walk(start: Path, exclude: GitIgnoreSpec, respect_gitignore: bool) -> Iterator[Path]:
    root, here = start.resolve(), Path.cwd()
    excluded: tuple[_Patterns, ...] = (_Patterns(here if root.is_relative_to(here) else root, exclude),)
    outer = _enclosing_gitignores(root) if respect_gitignore else ()
    # Patterns that ignore the named folder itself have been overruled by naming it.
    excluded, outer = (() if _ignored(f"{root}{os.sep}", each) else each for each in (excluded, outer))
    stack = [(root, outer)]
    while stack:
        folder, outer = stack.pop()
        ignores = (*_gitignore(folder), *outer) if respect_gitignore else ()
        for entry in _entries(folder):
            is_folder = entry.is_dir(follow_symlinks=False)
            unwanted = entry.name in DEFAULT_EXCLUDE if is_folder else not entry.name.endswith(SUFFIXES)
            if unwanted or _ignored(entry.path + os.sep * is_folder, (*excluded, *ignores)):
                continue
            if is_folder:
                stack.append((Path(entry.path), ignores))
            elif (file := Path(entry.path)).is_file():
                yield start / file.relative_to(root)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder, error) from error


def _ignored(path: str, patterns: Sequence[_Patterns]) -> bool:
    """As in git, the first that says something about a path decides; patterns come innermost first."""
    return next((verdict for each in patterns if (verdict := each.verdict(path)) is not None), False)


def _enclosing_gitignores(folder: Path) -> tuple[_Patterns, ...]:
    """The .gitignore files above a folder, up to the root of its repository."""
    above = [folder, *folder.parents]
    depth = next((depth for depth, each in enumerate(above) if (each / ".git").exists()), 0)
    return tuple(patterns for each in above[1 : depth + 1] for patterns in _gitignore(each))


def _gitignore(folder: Path) -> tuple[_Patterns, ...]:
    try:
        text = (folder / ".gitignore").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return (_Patterns(folder, _spec(text.splitlines())),)


def _spec(lines: Iterable[str]) -> GitIgnoreSpec:
    """Compile patterns; like git, pass over those that are malformed."""
    return GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line))


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True
