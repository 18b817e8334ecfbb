"""What one checked file sees of the others: the scopes of those that its flow needs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bnlint.source import from_ast, syntax
from bnlint.source.aspects import TEXT
from bnlint.source.lower import SyntaxTree, unplaced
from bnlint.source.project import Project
from bnlint.source.recent import recent
from bnlint.source.scope import scope_of
from bnlint.source.screen import blanked
from bnlint.source.text import parsed
from bnlint.source.values import Scope, Value
from bnlint.vocabulary import Meaning

#: characters of other files whose syntax trees are kept
MAX_TEXT = 200_000


@recent(MAX_TEXT)
def nowhere(text: str, path: str) -> SyntaxTree | None:
    """Read what several files need of another once; where its nodes stand is left open."""
    with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
        return unplaced(path, from_ast.module(parsed(text).body))
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
        words = self._project.words

        def scope(file: Path) -> Scope | None:
            if file not in scopes:
                seen = self._tree(file)
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

        def made(seen: SyntaxTree, file: Path, resolve: Callable[[str], Value | None]) -> Scope:
            methods = words.vocabulary(file).methods
            defined = functools.partial(words.defined, file)
            return scope_of(seen.module, seen.locate, resolve, homes, methods=methods, defined=defined)

        spoken = self._needed or words.vocabulary(self._file).words
        return made(tree, self._file, resolving(self._file) if spoken else lambda _: None)

    def _tree(self, file: Path) -> SyntaxTree | None:
        if file not in self._trees:
            aspects = [f"{TEXT} {name}".rstrip() for name in ("", *sorted(self._needed[file]))]
            # What is found in a file rests on every byte of it.
            there = self._project.read(file, *(() if self._read is not nowhere else aspects))
            spelled = self._project.spelled(file)
            part = "" if there is None else blanked(there.text.text, there.outline, self._needed[file])
            self._trees[file] = None if there is None else self._read(part, spelled)
        return self._trees[file]
