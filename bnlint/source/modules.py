"""Which file of the same project an import means; nothing is executed, and installed packages are not looked at.

Paths are text here: there are very many, and those of `pathlib` take ten times as long.
"""

from __future__ import annotations

import os.path
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


def modules(folder: str, dotted: str, exists: Callable[[str], bool]) -> Iterator[Module]:
    """Yield the modules that a dotted path may lead to from the files of a folder, the likeliest first.

    Args:
        folder: The folder of the importing file, absolute.
        dotted: The path as it is imported, with the dots of a relative import in front.
        exists: Whether a file or folder is there.
    """
    path = dotted.lstrip(".")
    parts = tuple(path.split(".")) if path else ()
    level = len(dotted) - len(path)
    if level:
        for _ in range(level - 1):
            if folder == _above(folder):
                return
            folder = _above(folder)
        yield from _below(folder, parts, exists)
        return
    for root in _roots(folder, parts[0], exists) if parts else ():
        yield from _below(root, parts, exists)


def _below(folder: str, parts: tuple[str, ...], exists: Callable[[str], bool]) -> Iterator[Module]:
    """Yield the modules of a path below a folder: of `a.b.c`, `a/b/c` before a name `c` in `a/b`, and that before `a`.

    Where a package defines a name itself, that is told from its submodule of this name by whoever asks.
    """
    found: list[Module] = []
    here = folder
    for count in range(len(parts) + 1):
        package = _inside(here, "__init__.py")
        if exists(package):
            found.append(Module(Path(package), parts[count:]))
        if count == len(parts):
            break
        module = _inside(here, f"{parts[count]}.py")
        here = _inside(here, parts[count])
        if not exists(_inside(here, "__init__.py")) and exists(module):
            found.append(Module(Path(module), parts[count + 1 :]))
            break
        if not exists(here):
            break
    # A package above the first part is where the search starts, not what it finds, unless nothing but a name is left.
    yield from reversed([each for each in found if len(each.rest) < len(parts) or len(parts) <= 1])


def _roots(own: str, head: str, exists: Callable[[str], bool]) -> Iterator[str]:
    """Yield the folders in which an absolute import of `head` in a file of a folder is looked for."""
    top = own
    while exists(_inside(top, "__init__.py")) and top != _above(top):
        package, top = top, _above(top)
        if _last(package) == head and not exists(_inside(top, "__init__.py")):
            yield top  # the package that the file belongs to
            return
    if head in sys.stdlib_module_names or not _INSTALLED.isdisjoint(own.split(os.path.sep)):
        return
    yield top
    folder = top
    while not any(exists(_inside(folder, marker)) for marker in _MARKERS):
        if folder == _above(folder):  # no project around it: nothing above the package belongs to it
            yield from () if top == own else (own,)
            return
        folder = _above(folder)
    above = top
    while above != folder:
        above = _above(above)
        yield above
    yield _inside(folder, "src")
    if own != top:
        yield own


def _inside(folder: str, name: str) -> str:
    return os.path.join(folder, name)  # noqa: PTH118


def _above(path: str) -> str:
    return os.path.dirname(path)  # noqa: PTH120


def _last(path: str) -> str:
    return os.path.basename(path)  # noqa: PTH119
