"""From the paths that were named to the Python files and notebooks that are read."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from bnlint.errors import InputError, nearest
from bnlint.paths import exists, is_file
from bnlint.source.patterns import Patterns, ignored

NOTEBOOK = ".ipynb"
SUFFIXES = (".py", ".pyi", NOTEBOOK)
DEFAULT_EXCLUDE = (
    *(".git", ".hg", ".svn", ".venv", "venv", "site-packages", "node_modules", "__pycache__", "__pypackages__"),
    *(".tox", ".nox", ".eggs", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".bnlint_cache", ".ipynb_checkpoints"),
    *("_build", "build", "dist"),
)


def is_notebook(path: str) -> bool:
    """Whether a file is a notebook, by its name."""
    return path.endswith(NOTEBOOK) and PurePath(path).suffix == NOTEBOOK


def discover(
    paths: Sequence[Path],
    *,
    exclude: Callable[[Path], Sequence[Patterns]] = lambda _: (),
    respect_gitignore: bool = True,
    force_exclude: bool = False,
    unreadable: Callable[[InputError], None] | None = None,
) -> list[Path]:
    """Find the Python files and notebooks below the given paths.

    What is named is read: a file or folder given by name is taken even where a pattern ignores it.
    Links to folders are followed only when they are named.

    Args:
        paths: Files and folders.
        exclude: Gives for an absolute folder the patterns to leave out that hold in it.
        respect_gitignore: Whether .gitignore files count, those of enclosing folders up to the repository included.
        force_exclude: Whether to leave out even what is named, if it is excluded.
        unreadable: Called with each folder below the named ones that cannot be read; without, that is an error.

    Returns:
        Each file once, by its own name where that is below the same path as a link to it; in the order of the paths
        and sorted within a folder.

    Raises:
        InputError: If a path does not exist, cannot be read or is no Python source.
    """
    found: dict[str, Path] = {}
    for path in paths:
        is_folder = _is_folder(path)
        if force_exclude and is_excluded(path, exclude):
            continue
        if is_folder:
            below = _by_own_names(_walk(path, exclude, respect_gitignore, unreadable))
        else:
            below = [(_named_file(path), os.path.realpath(path))]
        for file, real in below:
            found.setdefault(real, file)
    return list(found.values())


def _by_own_names(walked: Iterable[tuple[Path, str, bool]]) -> list[tuple[Path, str]]:
    """Sort the files of a folder, and leave out the links in it to another of them: that one is meant."""
    files = sorted(walked, key=lambda each: each[0].parts)
    own = {real for _, real, linked in files if not linked}
    return [(file, real) for file, real, linked in files if not (linked and real in own)]


def is_excluded(path: Path, exclude: Callable[[Path], Sequence[Patterns]]) -> bool:
    """Whether a file or folder, or one that it lies in below the working folder, is excluded."""
    full = path.resolve()
    here = Path.cwd()
    parts = full.relative_to(here).parts if full.is_relative_to(here) else full.parts[-1:]
    folders = parts if path.is_dir() else parts[:-1]
    spelled = f"{full}{os.sep * path.is_dir()}"
    return any(part in DEFAULT_EXCLUDE for part in folders) or ignored(spelled, exclude(full.parent))


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise InputError("a link to what does not exist", where=str(path)) from None
        raise InputError("no such file or folder", where=str(path), hint=_instead(path)) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _instead(path: Path) -> str:
    """Say what may have been meant by a path that leads nowhere."""
    file, colon, function = str(path).partition(".py:")
    if colon:
        return f"a function is named by its module: {file.removeprefix(f'src{os.sep}').replace(os.sep, '.')}:{function}"
    names = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    near = nearest(path.name, names, cutoff=0.6)
    if near:
        return f"did you mean `{path.parent / near}`?"
    package = str(path).partition(".")[0]
    is_module = re.fullmatch(r"\w+(\.\w+)+", str(path)) is not None and path.suffix not in SUFFIXES
    if is_module and any(Path(each).is_dir() for each in (package, f"src/{package}")):
        return f"name a Python file or a folder of them; for a model, a function too: {path}:FUNCTION"
    return "name a Python file or a folder of them"


def _named_file(path: Path) -> Path:
    if not is_file(path):  # to open a pipe would wait for its writer
        raise InputError("not a regular file", where=str(path), hint="name a .py or .pyi file, or a folder of them")
    if path.suffix not in SUFFIXES and not _has_python_shebang(path):
        raise InputError(
            "not Python source", where=str(path), hint="name a .py, .pyi or .ipynb file, or a folder of them"
        )
    return path


def _has_python_shebang(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return re.match(rb"#!.*\bpython", file.readline(200)) is not None
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(path))


def _walk(
    start: Path,
    exclude: Callable[[Path], Sequence[Patterns]],
    respect_gitignore: bool,
    unreadable: Callable[[InputError], None] | None,
) -> Iterator[tuple[Path, str, bool]]:
    """Yield the files below a folder, as it was named, where each really is, and whether it is a link."""
    root = start.resolve()
    outer = _enclosing_gitignores(root) if respect_gitignore else ()
    # Patterns that ignore the named folder itself have been overruled by naming it.
    outer = () if ignored(f"{root}{os.sep}", outer) else outer
    overruled = [each for each in exclude(root) if ignored(f"{root}{os.sep}", (each,))]
    stack = [(root, outer)]
    while stack:
        folder, outer = stack.pop()
        ignores = (*_gitignore(folder), *outer) if respect_gitignore else ()
        excluded = [each for each in exclude(folder) if each not in overruled]
        for entry in _entries(folder, unreadable if folder != root else None):
            is_folder = entry.is_dir(follow_symlinks=False)
            unwanted = entry.name in DEFAULT_EXCLUDE if is_folder else not entry.name.endswith(SUFFIXES)
            if unwanted or ignored(entry.path + os.sep * is_folder, (*excluded, *ignores)):
                continue
            if is_folder:
                stack.append((Path(entry.path), ignores))
            elif entry.is_file(follow_symlinks=False):  # the folder's own path has no links left
                yield _below(start, root, entry), entry.path, False
            elif is_file(entry.path):
                yield _below(start, root, entry), os.path.realpath(entry.path), True


def _below(start: Path, root: Path, entry: os.DirEntry[str]) -> Path:
    return start / entry.path[len(str(root)) :].lstrip(os.sep)


def _entries(folder: Path, unreadable: Callable[[InputError], None] | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if unreadable is None:
            raise _unreadable(folder, error) from error
        unreadable(_unreadable(folder, error))
        return []


def _enclosing_gitignores(folder: Path) -> tuple[Patterns, ...]:
    """The .gitignore files above a folder, up to the root of its repository."""
    above = [folder, *folder.parents]
    depth = next((depth for depth, each in enumerate(above) if exists(each / ".git")), 0)
    return tuple(patterns for each in above[1 : depth + 1] for patterns in _gitignore(each))


def _gitignore(folder: Path) -> tuple[Patterns, ...]:
    try:
        text = (folder / ".gitignore").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ()
    return (Patterns.compile(folder, text.splitlines()),)
