"""Which file of the same project an import means; nothing is executed, and installed packages are not looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_INSTALLED = frozenset({"site-packages", "dist-packages"})
_MARKERS = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project, and what follows it in a dotted path.

    Attributes:
        file: The module's file; the `__init__.py` of a package.
        rest: The part of the path that is not a module.
    """

    file: Path
    rest: tuple[str, ...]


def modules(file: Path, dotted: str, exists: Callable[[Path], bool]) -> Iterator[Module]:
    """Yield the modules that a dotted path may lead to from a file, the likeliest first.

    Args:
        file: The importing file, absolute.
        dotted: The path as it is imported, with the dots of a relative import in front.
        exists: Whether a file or folder is there.
    """
    path = dotted.lstrip(".")
    parts = tuple(path.split(".")) if path else ()
    level = len(dotted) - len(path)
    if level:
        folder = file.parents[level - 1] if level <= len(file.parents) else None
        if folder is not None:
            yield from _below(folder, parts, exists)
        return
    for root in _roots(file, parts[0], exists) if parts else ():
        yield from _below(root, parts, exists)


def _below(folder: Path, parts: tuple[str, ...], exists: Callable[[Path], bool]) -> Iterator[Module]:
    """Yield the modules of a path below a folder: of `a.b.c`, `a/b/c` before a name `c` in `a/b`, and that before `a`.

    Where a package defines a name itself, that is told from its submodule of this name by whoever asks.
    """
    found: list[Module] = []
    here = folder
    for count in range(len(parts) + 1):
        package = here / "__init__.py"
        if exists(package):
            found.append(Module(package, parts[count:]))
        if count == len(parts):
            break
        module = here / f"{parts[count]}.py"
        here = here / parts[count]
        if not exists(here / "__init__.py") and exists(module):
            found.append(Module(module, parts[count + 1 :]))
            break
        if not exists(here):
            break
    # A package above the first part is where the search starts, not what it finds, unless nothing but a name is left.
    yield from reversed([each for each in found if len(each.rest) < len(parts) or len(parts) <= 1])


def _roots(file: Path, head: str, exists: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield the folders in which an absolute import of `head` is looked for."""
    top = file.parent
    while exists(top / "__init__.py") and top != top.parent:
        package, top = top, top.parent
        if package.name == head and not exists(top / "__init__.py"):
            yield top  # the package that the file belongs to
            return
    if head in sys.stdlib_module_names or any(part in _INSTALLED for part in file.parts):
        return
    yield top
    folder = top
    while not any(exists(folder / marker) for marker in _MARKERS):
        if folder == folder.parent:  # no project around it: nothing above the package belongs to it
            yield from () if top == file.parent else (file.parent,)
            return
        folder = folder.parent
    above = top
    while above != folder:
        above = above.parent
        yield above
    yield folder / "src"
    if file.parent != top:
        yield file.parent
