"""What a name in a file is declared to be, whatever it is called there and whichever files hand it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnlint.source.aspects import NAME
from bnlint.source.modules import modules
from bnlint.source.screen import Elsewhere
from bnlint.vocabulary import Meaning, Vocabulary, Word

if TYPE_CHECKING:
    from bnlint.source.definitions import Definition, Read
    from bnlint.source.outline import Outline, Unit

#: how often a name may be handed on from file to file
MAX_HANDED_ON = 100

#: a definition at the top level of a file, and a member of it, "" for itself
_Place = tuple[Path, str, str]


@dataclass(frozen=True)
class Words:
    """The declared names in the files of a project.

    Attributes:
        vocabulary: The words that hold in a file.
        find: What a dotted path that a file imports leads to.
        read: Reads a file, given what will be looked at in it.
        exists: Whether a file or folder is there.
        once: Computes something that rests on files once, under a key.
    """

    vocabulary: Callable[[Path], Vocabulary]
    find: Callable[[Path, str], Definition | None]
    read: Callable[[Path, str], Read | None]
    exists: Callable[[str], bool]
    once: Callable[[Any, Callable[[], Any]], Any]

    def imported(self, file: Path, dotted: str) -> Word | None:
        """Return the word that a dotted path, as a file imports it, is."""
        if not self.vocabulary(file).paths:
            return None
        found: Word | None = self.once(("word", file, dotted), lambda: self._imported(file, dotted))
        return found

    def defined(self, file: Path, name: str, member: str = "") -> Word | None:
        """Return the word that a definition at the top level of a file is, or a member of it."""
        return self._places(file).get((file, name, member)) if self.vocabulary(file).paths else None

    def reached(self, file: Path, sketch: Outline, unit: Unit) -> Iterator[Elsewhere]:
        """Yield what the words mean that a unit of a file reaches by its imports, under whatever name."""
        for word in self._mentioned(file, sketch, unit) if self.vocabulary(file).paths else ():
            yield Elsewhere(word.meaning is Meaning.STATISTIC, word.meaning is Meaning.STOP)

    def _mentioned(self, file: Path, sketch: Outline, unit: Unit) -> Iterator[Word]:
        for name in sorted(sketch.imports.keys() & unit.names):
            for path in sketch.imports[name]:
                word = self.imported(file, path)
                if word is not None:
                    yield word
                elif self._is_module(file, path):
                    inside = (self.imported(file, _below(path, each)) for each in unit.names)
                    yield from (each for each in inside if each is not None)

    def _is_module(self, file: Path, path: str) -> bool:
        found = self.find(file, path)
        return found is not None and not found.name

    def _imported(self, file: Path, dotted: str) -> Word | None:
        paths = self.vocabulary(file).paths
        found = self.find(file, dotted)
        if found is not None and (word := self._places(file).get((found.file, found.name, ""))) is not None:
            return word
        spelled = (name for each in self._handed_on(file, dotted) for name in self._spelled(*each))
        return next((paths[name] for name in spelled if name in paths), None)

    def _places(self, file: Path) -> Mapping[_Place, Word]:
        """Return where in the project the words of a file are defined."""
        places: Mapping[_Place, Word] = self.once(("words", file), lambda: dict(self._located(file)))
        return places

    def _located(self, file: Path) -> Iterator[tuple[_Place, Word]]:
        for name, word in self.vocabulary(file).paths.items():
            above, _, last = name.rpartition(".")
            if (owner := self.find(file, above)) is not None and owner.name:
                yield (owner.file, owner.name, last), word
            if (own := self.find(file, name)) is not None and own.name:
                yield (own.file, own.name, ""), word

    def _handed_on(self, file: Path, dotted: str) -> Iterator[tuple[Path, str]]:
        """Yield a path, and those under which files of the project import what it means."""
        todo = [(file, dotted)]
        seen = set(todo)
        while todo and len(seen) < MAX_HANDED_ON:
            here, path = todo.pop(0)
            yield here, path
            for module in modules(str(here.parent), path, self.exists):
                read = self.read(module.file, f"{NAME} {module.rest[0]}") if module.rest else None
                if read is None:
                    continue
                head, *tail = module.rest
                stars = () if read.outline.defines(head) else read.outline.stars
                for source in (*read.outline.imports.get(head, ()), *(_below(star, head) for star in stars)):
                    further = module.file, ".".join([source, *tail])
                    if further not in seen:
                        seen.add(further)
                        todo.append(further)

    def _spelled(self, file: Path, dotted: str) -> Iterator[str]:
        """Yield what a dotted path of a file is as an absolute import."""
        path = dotted.lstrip(".")
        level = len(dotted) - len(path)
        if not level:
            yield path
            return
        parts, folder = path.split("."), file.parent
        for _ in range(level - 1):
            folder = folder.parent
        while folder.name:
            parts.insert(0, folder.name)
            packaged = self.exists(str(folder / "__init__.py"))
            folder = folder.parent
            # Above a package, folders without an __init__.py may be namespaces.
            if not (packaged and self.exists(str(folder / "__init__.py"))):
                yield ".".join(parts)


def _below(path: str, name: str) -> str:
    """Return the path of a name in a module; `.` is the package of the file."""
    return f"{path}{name}" if path.endswith(".") else f"{path}.{name}"
