"""What one checked file sees of the others: the scopes of those that its flow needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import libcst as cst

from bnlint.source.lower import Parsed, parse, unplaced
from bnlint.source.project import Project
from bnlint.source.scope import scope_of
from bnlint.source.screen import blanked
from bnlint.source.values import Scope, Value
from bnlint.vocabulary import Meaning

#: how many syntax trees of other files are kept
MAX_TREES = 64


class View:
    """The project as one checked file sees it.

    Args:
        project: The files around it.
        file: The checked file, absolute.
        needed: The definitions of other files that its flow needs; no others are looked at.
    """

    def __init__(self, project: Project, file: Path, needed: Mapping[Path, frozenset[str]]) -> None:
        self._project = project
        self._file = file
        self._needed = needed
        self._trees: dict[Path, Parsed | None] = {}

    def placed(self, parsed: Parsed) -> Scope:
        """Return the scope of the checked file."""
        return self._scope(parsed, lambda tree: tree)

    def unplaced(self, parsed: Parsed) -> Scope:
        """Return the scope of the checked file, where nodes of other files stand nowhere."""
        return self._scope(parsed, unplaced)

    def _scope(self, parsed: Parsed, shown: Callable[[Parsed], Parsed]) -> Scope:
        homes: dict[cst.CSTNode, Scope] = {}
        scopes: dict[Path, Scope | None] = {}
        words = self._project.words

        def scope(file: Path) -> Scope | None:
            if file not in scopes:
                tree = self._tree(file)
                seen = None if tree is None else shown(tree)
                scopes[file] = None if seen is None else made(seen, file, resolving(file))
            return scopes[file]

        def resolving(file: Path) -> Callable[[str], Value | None]:
            def resolve(dotted: str) -> Value | None:
                word = words.imported(file, dotted)
                if word is not None and word.meaning is not Meaning.NORM:
                    return word
                found = self._project.find(file, dotted)
                there = scope(found.file) if found and found.name in self._needed.get(found.file, ()) else None
                return there.names.get(found.name, word) if found and there else word

            return resolve

        def made(seen: Parsed, file: Path, resolve: Callable[[str], Value | None]) -> Scope:
            methods = words.vocabulary(file).methods
            defined = functools.partial(words.defined, file)
            return scope_of(seen.module, seen.locate, resolve, homes, methods=methods, defined=defined)

        spoken = self._needed or words.vocabulary(self._file).words
        return made(parsed, self._file, resolving(self._file) if spoken else lambda _: None)

    def _tree(self, file: Path) -> Parsed | None:
        if file not in self._trees:
            read, spelled = self._project.read(file), self._project.spelled(file)
            self._trees[file] = None
            with suppress(cst.ParserSyntaxError, RecursionError):
                if read is not None:
                    self._trees[file] = _parsed(blanked(read.text, read.outline, self._needed[file]), spelled)
        return self._trees[file]


@functools.lru_cache(MAX_TREES)
def _parsed(text: str, path: str) -> Parsed:
    """Parse what several files need of another once."""
    return parse(text, path)
