"""What one checked file sees of the others: the scopes of those that its flow needs."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

from bnlint.source import from_ast, syntax
from bnlint.source.lower import SyntaxTree, unplaced
from bnlint.source.project import Project
from bnlint.source.scope import scope_of
from bnlint.source.screen import blanked
from bnlint.source.values import Scope, Value

#: how many syntax trees of other files are kept
MAX_TREES = 64


@functools.lru_cache(MAX_TREES)
def nowhere(text: str, path: str) -> SyntaxTree | None:
    """Read what several files need of another once; where its nodes stand is left open."""
    try:
        return unplaced(path, from_ast.module(ast.parse(text).body))
    except RecursionError:
        return None


class View:
    """The project as one checked file sees it.

    Args:
        project: The files around it.
        file: The checked file, absolute.
        needed: The definitions of other files that its flow needs; no others are looked at.
        read: Reads the text of a file, given what locations call it; None where that cannot be done.
    """

    def __init__(
        self,
        project: Project,
        file: Path,
        needed: Mapping[Path, frozenset[str]],
        read: Callable[[str, str], SyntaxTree | None] = nowhere,
    ) -> None:
        self._project = project
        self._file = file
        self._needed = needed
        self._read = read
        self._trees: dict[Path, SyntaxTree | None] = {}

    def __call__(self, tree: SyntaxTree) -> Scope:
        """Return the scope of the checked file."""
        homes: dict[syntax.Node, Scope] = {}
        scopes: dict[Path, Scope | None] = {}

        def scope(file: Path) -> Scope | None:
            if file not in scopes:
                seen = self._tree(file)
                made = None if seen is None else scope_of(seen.module, seen.locate, resolving(file), homes)
                scopes[file] = made
            return scopes[file]

        def resolving(file: Path) -> Callable[[str], Value | None]:
            def resolve(dotted: str) -> Value | None:
                found = self._project.find(file, dotted)
                there = scope(found.file) if found and found.name in self._needed.get(found.file, ()) else None
                return there.names.get(found.name) if found and there else None

            return resolve

        own = resolving(self._file) if self._needed else lambda _: None
        return scope_of(tree.module, tree.locate, own, homes)

    def _tree(self, file: Path) -> SyntaxTree | None:
        if file not in self._trees:
            there, spelled = self._project.read(file), self._project.spelled(file)
            self._trees[file] = (
                None if there is None else self._read(blanked(there.text, there.outline, self._needed[file]), spelled)
            )
        return self._trees[file]
