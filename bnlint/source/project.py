"""What a file imports from other files of the same project: found on demand, read once, nothing executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bnlint.source.aspects import EXPORTS, NAME, NAMES, STARS, UNITS
from bnlint.source.definitions import Definition
from bnlint.source.modules import Module, modules
from bnlint.source.outline import CALLED, Outline, Unit
from bnlint.source.reads import Reads
from bnlint.source.screen import Elsewhere, reach
from bnlint.source.spelling import Spelling
from bnlint.source.words import Words
from bnlint.vocabulary import Vocabulary, no_words

#: how many files a flow is followed into, one behind the other
MAX_FILES = 3
#: what needs more definitions of other files is a builder or a program, no helper of a layer
MAX_DEFINITIONS = 25
#: how often a name may be handed on from file to file
MAX_REEXPORTS = 300

#: where the imports of a file lead to, by the name that they bind
_Leads = dict[str, tuple[tuple[str, Definition | None], ...]]
#: the imports and names of files that a search has looked at
_Seen = set[tuple[Path, str, str]]


class Project(Reads):
    """The files around those that are checked; one for each run.

    Args:
        paths: The files that are checked, as findings are to call them.
        vocabulary: The words that hold in a file.
    """

    def __init__(self, paths: Sequence[Path] = (), vocabulary: Callable[[Path], Vocabulary] = no_words) -> None:
        super().__init__(vocabulary)
        self.words = Words(vocabulary, self.find, self.read, self._exists, self._memory.once)
        #: what findings call a file
        self.spelled: Callable[[Path], str] = Spelling(paths)

    # -- names

    def find(self, file: Path, dotted: str) -> Definition | None:
        """Find what a dotted path that a file imports leads to; names that are handed on are followed."""
        return self._memory.once(("find", str(file), dotted), lambda: self._find(file, dotted, set()))

    def _find(self, file: Path, dotted: str, seen: _Seen) -> Definition | None:
        """Search depth first; what was looked at once, by whatever way, leads nowhere the second time."""
        if (file, "import", dotted) in seen or len(seen) > MAX_REEXPORTS:
            return None
        seen.add((file, "import", dotted))
        candidates = self._modules(file, dotted)
        for module in candidates:
            if len(module.rest) == 1:
                found = self._name(module.file, module.rest[0], seen)
                if found is not None:
                    return found
        whole = next((module for module in candidates if not module.rest), None)
        return None if whole is None else Definition(whole.file, "")

    def _modules(self, file: Path, dotted: str) -> list[Module]:
        folder = str(file.parent)
        found = self._memory.once(("modules", folder, dotted), lambda: tuple(modules(folder, dotted, self._exists)))
        return [each for each in found if each.file != file or each.rest]

    def _name(self, file: Path, name: str, seen: _Seen) -> Definition | None:
        """Find what a name at the top level of a file is, or is imported from."""
        if (file, "name", name) in seen:
            return None
        seen.add((file, "name", name))
        read = self.read(file, f"{NAME} {name}")
        if read is None:
            return None
        if read.outline.defines(name):
            return Definition(file, name)
        for path in read.outline.imports.get(name, ()):
            found = self._find(file, path, seen)
            if found is not None:
                return found
        starred = read.outline.stars and not name.startswith("_") and name in self._names(file)
        for source, exports in self._stars(file) if starred else ():
            if exports is None or name in exports:
                found = self._name(source, name, seen)
                if found is not None:
                    return found
        return None

    def _stars(self, file: Path) -> tuple[tuple[Path, frozenset[str] | None], ...]:
        """Return the files whose names a file imports by stars, the last first, and what each of them exports."""
        return self._memory.once(("stars", str(file)), lambda: tuple(self._starred(file)))

    def _starred(self, file: Path) -> Iterator[tuple[Path, frozenset[str] | None]]:
        read = self.read(file, STARS)
        for star in reversed(read.outline.stars if read is not None else ()):
            source = next((module.file for module in self._modules(file, star) if not module.rest), None)
            lent = self.read(source, EXPORTS) if source is not None else None
            if source is not None and lent is not None:
                yield source, lent.outline.exports

    def _names(self, file: Path) -> frozenset[str]:
        """Return the names that a file may hand out: its own, those it imports, and those of its star imports."""
        return self._memory.once(("names", str(file)), lambda: self._handed_out(file))

    def _handed_out(self, file: Path) -> frozenset[str]:
        names, todo, seen = set[str](), [file], {file}
        while todo:
            current = todo.pop()
            read = self.read(current, NAMES)
            if read is None:
                continue
            names |= read.outline.names | read.outline.imports.keys()
            for source, exports in self._stars(current):
                names |= exports or frozenset()
                if source not in seen and exports is None:
                    seen.add(source)
                    todo.append(source)
        return frozenset(names)

    # -- what code can reach

    def imported(self, file: Path, sketch: Outline) -> Callable[[Unit], Iterable[Elsewhere]]:
        """Return a function that says what a unit of a file reaches in other files."""
        leads, reached = _Leads(), dict[tuple[str, Definition], Elsewhere]()

        def of(unit: Unit) -> Iterator[Elsewhere]:
            for used in self._used(file, sketch, unit, leads):
                if used not in reached:
                    reached[used] = replace(self._elsewhere(used[1], MAX_FILES), name=used[0])
                yield reached[used]
            yield from self.words.reached(file, sketch, unit)

        return of

    def inherited(self, file: Path, sketch: Outline) -> Iterator[Unit]:
        """Yield the methods that bases in other files lend to the classes of a file."""
        for name, bases in sketch.bases.items():
            own = {unit.name for unit in sketch.of(name)}
            heads = frozenset(part for base in bases for part in base.split("."))
            for base in self._lineage(file, sketch, name, MAX_FILES):
                lent = self.read(base.file, f"{UNITS} {base.name}") if base.file != file else None
                for unit in lent.outline.of(base.name) if lent is not None else ():
                    if unit.name not in own:
                        own.add(unit.name)
                        yield replace(unit, top=name, names=tuple(sorted({*unit.names, *heads, unit.name})))

    def _lineage(
        self, file: Path, sketch: Outline, name: str, hops: int, seen: frozenset[Definition] = frozenset()
    ) -> Iterator[Definition]:
        """Yield the bases of a class, and theirs, that stand in the project."""
        self._memory.rest_on(str(file), f"{NAME} {name}")
        for base in sketch.bases.get(name, ()):
            found = self._base(file, sketch, base)
            if found is None or found in seen or (found.file != file and hops == 0):
                continue
            yield found
            read = self._read(found.file) if found.file != file else None
            further = hops - (found.file != file)
            above = read.outline if read is not None else sketch
            yield from self._lineage(found.file, above, found.name, further, seen | {found})

    def _base(self, file: Path, sketch: Outline, base: str) -> Definition | None:
        head, _, rest = base.partition(".")
        self._memory.rest_on(str(file), f"{NAME} {head}")
        if not rest and sketch.defines(head):
            return Definition(file, head)
        paths = [f"{path}.{rest}" if rest else path for path in sketch.imports.get(head, ())]
        return next((found for path in paths if (found := self.find(file, path)) and found.name), None)

    def _used(self, file: Path, sketch: Outline, unit: Unit, leads: _Leads) -> Iterator[tuple[str, Definition]]:
        """Yield the definitions of other files that a unit mentions, by name; classes by the methods it may call."""
        for name, found in self._mentioned(file, sketch, unit, leads):
            yield name, found
            for each in self._memory.once(("methods", found), partial(self._methods, found)):
                if each.method in unit.names or each.method in CALLED:
                    yield name, each

    def _methods(self, found: Definition) -> tuple[Definition, ...]:
        """Return the methods of a class, and of its bases in the same file."""
        read = self.read(found.file, f"{UNITS} {found.name}")
        if read is None:
            return ()
        owners = (found, *self._lineage(found.file, read.outline, found.name, 0))
        for owner in owners:
            self._memory.rest_on(str(found.file), f"{UNITS} {owner.name}")
        methods = ((owner, {unit.name for unit in read.outline.of(owner.name)}) for owner in owners)
        return tuple(
            Definition(found.file, owner.name, method)
            for owner, names in methods
            for method in sorted(names - {"", found.name})
        )

    def _mentioned(self, file: Path, sketch: Outline, unit: Unit, leads: _Leads) -> Iterator[tuple[str, Definition]]:
        for name in sorted(sketch.imports.keys() & unit.names):
            if name not in leads:
                leads[name] = tuple((path, self.find(file, path)) for path in sketch.imports[name])
            for path, found in leads[name]:
                if found is not None and found.name:
                    yield name, found
                elif found is not None:
                    yield from self._attributes(file, path, found.file, unit)
        for star in sketch.stars:
            source = self.find(file, star)
            if source is not None and not source.name:
                yield from self._attributes(file, star, source.file, unit)

    def _attributes(self, file: Path, path: str, module: Path, unit: Unit) -> Iterator[tuple[str, Definition]]:
        for name in sorted(self._names(module).intersection(unit.names)):
            found = self.find(file, f"{path}.{name}" if not path.endswith(".") else f"{path}{name}")
            if found is not None and found.name:
                yield name, found

    def _elsewhere(self, definition: Definition, hops: int) -> Elsewhere:
        return self._memory.once(("elsewhere", definition, hops), lambda: self._reached(definition, hops))

    def _reached(self, definition: Definition, hops: int) -> Elsewhere:
        read = self.read(definition.file, f"{UNITS} {definition.name}")
        if read is None:
            return Elsewhere()
        methods = {definition.method or definition.name, ""}
        units = reach([unit for unit in read.outline.of(definition.name) if unit.name in methods], read.outline)
        for top in {unit.top for unit in units}:
            self._memory.rest_on(str(definition.file), f"{UNITS} {top}")
        needed = {(definition.file, unit.top) for unit in units}
        statistic = any(unit.statistic for unit in units)
        # Numbers are made everywhere; here they count where a statistic is made one.
        stop = any(unit.stop or (unit.converts and unit.statistic) for unit in units)
        for further in self._further(definition.file, read.outline, units, hops) if hops > 1 else ():
            if len(needed) > MAX_DEFINITIONS:
                break
            statistic, stop = statistic or further.statistic, stop or further.stop
            needed |= further.needed
        return Elsewhere(statistic, stop, frozenset(needed)) if len(needed) <= MAX_DEFINITIONS else Elsewhere()

    def _further(self, file: Path, sketch: Outline, units: Iterable[Unit], hops: int) -> Iterator[Elsewhere]:
        """Yield what units of another file reach in others still."""
        leads, told = _Leads(), set[Definition]()
        for unit in units:
            for _, each in self._used(file, sketch, unit, leads):
                if each not in told:
                    told.add(each)
                    yield self._elsewhere(each, hops - 1)
            yield from self.words.reached(file, sketch, unit)
