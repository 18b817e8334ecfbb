"""The outline of a file: what it defines and imports, and which names each of its functions mentions.

It is read from the text by patterns, without a parser: most files turn out to hold nothing to look at. Where the
patterns cannot tell (a comment that looks like code, a word in a string), a name more is mentioned, never one less.
Most files that others import are only asked for their names, so what stands in their functions is read when needed.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from sys import intern

from bnlint.flow.ops import COLLECTIVES, GRAD_OFF, PAIRS, POOLS, REDUCTIONS, RUNNING, SPELLED, STOPS
from bnlint.source.imports import Imports, imports_of
from bnlint.source.prose import without_prose
from bnlint.source.segments import Method, Segment, segments_of
from bnlint.vocabulary import NO_WORDS, Meaning, Vocabulary

STATISTICS = REDUCTIONS | SPELLED | frozenset(PAIRS) | frozenset(POOLS)
STOPPING = frozenset(STOPS) | frozenset(GRAD_OFF) | COLLECTIVES
#: functions that stop a gradient by their call alone; as methods or annotations the names mean something else
CONVERSIONS = frozenset({"float", "int", "bool"})
#: what calling an object of a class runs; a constructor is not followed
CALLED = ("__call__", "forward")
_LAYER_BASES = re.compile(r"Norm([123]d|Base)?$")
#: how a variance or its root looks
_SPREADS = frozenset({"var", "std", "sqrt", "rsqrt", "pow", *PAIRS})
_OPERATIONS = STATISTICS | STOPPING | _SPREADS

#: anything but what ends a name; to name the letters of all scripts takes a hundred times as long to compile
_NAME = re.compile(r"[^\x00-@\[-^`{-\x7f][^\x00-/:-@\[-^`{-\x7f]*")
#: of functools, `reduce` is none
_OPERATION = re.compile(rf"(?<!\bfunctools)\.\s*({'|'.join(sorted(_OPERATIONS))})\b")
#: `int` and `bool` give steps, through which no gradient is missed
_CONVERSION = re.compile(r"float\s*\(")
_POWER = re.compile(r"\*\*")
_BUFFER = re.compile(r"register_buffer\s*\(\s*(?:name\s*=\s*)?[\"'](\w+)[\"']")
_MEMBER = re.compile(r"\.\s*(\w+)\s*(?::[^=\n]+)?=\s*(?:(\w+)\s*\.\s*(?:\w+\s*\.\s*)*)?(\w+)\s*\(")
_MAKES_PARAMETERS = re.compile(r"arameter\b(?:(?<=\bParameter)|(?<=\bregister_parameter))")
_EXPORTS = re.compile(r"^__all__\s*=\s*[\[(]([^\])]*)[\])]", re.M)
_HEAD = re.compile(r"def(?<!\wdef)[ \t]+\w+")
_STRING = re.compile(r"[\"'](\w+)[\"']")


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A function, a method, a table of functions, or (with the name "") the rest of a class.

    Attributes:
        top: The definition at the top level of the file that it is, or is part of.
        name: Its own name.
        names: The names that it mentions, sorted: a set takes five times the room. Those of its class's bases and of
            what makes its attributes are among them.
        statistic: Whether it computes a statistic.
        stop: Whether it stops a gradient.
        converts: Whether it makes a Python number of something.
        state: Whether it mentions running statistics.
        spread: Whether it takes a root or a variance.
        layer: Whether it is the forward of a class with a norm as its base, or with parameters of its own.
    """

    top: str
    name: str
    names: tuple[str, ...]
    statistic: bool
    stop: bool
    converts: bool
    state: bool = False
    spread: bool = False
    layer: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The names by which others reach it: methods by the name alone, whatever the object."""
        return (self.name or self.top, *((self.top,) if self.name in CALLED else ()))


@dataclass(frozen=True)
class Outline:
    """What a file says of itself before its flow is followed; each part is read when it is asked for.

    Attributes:
        whole: Its text.
        vocabulary: The words that hold in it.
    """

    whole: str
    vocabulary: Vocabulary

    @cached_property
    def text(self) -> str:
        """Its text, without docstrings and comments."""
        return without_prose(self.whole)

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """Its definitions at the top level."""
        return tuple(segments_of(self.text))

    @cached_property
    def imports(self) -> Mapping[str, tuple[str, ...]]:
        """Name → the dotted paths that imports bind to it (`.stats.center`; of `import a.b`, both `a` and `a.b`)."""
        return {name: tuple(dict.fromkeys(paths)) for name, paths in self._imports.paths.items()}

    @property
    def renamed(self) -> Mapping[str, str]:
        """Name → what it is called where it is imported from."""
        return self._imports.originals

    @property
    def stars(self) -> tuple[str, ...]:
        """The dotted paths of `from … import *`."""
        return tuple(self._imports.stars)

    @cached_property
    def exports(self) -> frozenset[str] | None:
        """`__all__`, None where the file does not spell it out."""
        exported = _EXPORTS.search(self.whole) if "__all__" in self.whole else None
        return frozenset(_STRING.findall(exported[1])) if exported else None

    @cached_property
    def _imports(self) -> Imports:
        return imports_of(self.text)

    @cached_property
    def names(self) -> frozenset[str]:
        """What is defined, or bound to a table of functions, at the top level."""
        return frozenset(segment.name for segment in self.segments)

    @cached_property
    def bases(self) -> Mapping[str, tuple[str, ...]]:
        """Class at the top level → its bases as dotted names."""
        return {segment.name: segment.bases for segment in self.segments if segment.kind == "class"}

    @property
    def spans(self) -> tuple[tuple[str, int, int], ...]:
        """The definitions at the top level: name, and the offsets between which they stand."""
        return tuple((each.name, each.start, each.left) for each in self.segments)

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        """Its functions, methods and classes, in order."""
        found = tuple(unit for segment in self.segments for unit in _units(segment, self.text, self._facts))
        vars(self).pop("text", None)  # all has been read of it, and it takes half the room
        return found

    @cached_property
    def tops(self) -> Mapping[str, tuple[Unit, ...]]:
        """Definition at the top level → its units."""
        return _grouped((unit.top, unit) for unit in self.units)

    @cached_property
    def defining(self) -> Mapping[str, tuple[Unit, ...]]:
        """Name → the units that it may mean in this file."""
        return _grouped((key, unit) for unit in self.units for key in dict.fromkeys(unit.keys))

    @property
    def originals(self) -> Mapping[str, str]:
        """Name → the operation that it was imported as."""
        return self._facts.originals

    @property
    def members(self) -> Mapping[str, set[str]]:
        """Attribute → the names of what makes it."""
        return self._facts.members

    @cached_property
    def _facts(self) -> _Facts:
        return _Facts.of(self)

    def of(self, top: str) -> tuple[Unit, ...]:
        """Return the units of a definition at the top level."""
        return self.tops.get(top, ())

    def defines(self, name: str) -> bool:
        """Whether a name is defined, or bound to a table of functions, at the top level."""
        return name in self.names


def outline(text: str, vocabulary: Vocabulary = NO_WORDS) -> Outline:
    """Make the outline of a file in which these words hold from its text."""
    return Outline(text.replace("\r\n", " \n").replace("\r", "\n").replace("\f", "\n"), vocabulary)  # offsets stay


@dataclass(frozen=True, slots=True)
class _Facts:
    """What holds in the whole file.

    Attributes:
        operations: Operations as attributes, with the places where they stand, in order.
        conversions: Where Python numbers are made.
        powers: Where `**` stands.
        originals: Name → the operation that it was imported as.
        members: Attribute → the names of what makes it.
        running: The buffers that are registered, and names as running statistics have them.
        renamed: Name → what it is called where it is imported from.
        vocabulary: The words that hold.
    """

    operations: tuple[list[int], list[str]]
    conversions: list[int]
    powers: list[int]
    originals: Mapping[str, str]
    members: Mapping[str, set[str]]
    running: set[str]
    renamed: Mapping[str, str]
    vocabulary: Vocabulary

    def spoken(self, names: Iterable[str]) -> frozenset[str]:
        """Return what names are called where they are imported from, where there are words to compare them with."""
        return frozenset(self.renamed.get(name, name) for name in names) if self.vocabulary.words else frozenset()

    @classmethod
    def of(cls, sketch: Outline) -> _Facts:
        text = sketch.text
        # `self.norm(x)` is a layer
        found = [(m.start(), m[1]) for m in _OPERATION.finditer(text) if not text.endswith("self", 0, m.start())]
        numbers = {name for name, paths in sketch.imports.items() if "functools.reduce" in paths}
        originals = {key: name for key, name in sketch.renamed.items() if name in _OPERATIONS and key not in numbers}
        if sketch.stars:
            originals |= {name: name for name in _OPERATIONS if name not in sketch.renamed}
        members: dict[str, set[str]] = defaultdict(set)
        for name, head, made in _MEMBER.findall(text):
            members[name] |= {head, made} - {""}
        return cls(
            ([place for place, _ in found], [name for _, name in found]),
            [match.start() for match in _CONVERSION.finditer(text)],
            [place for match in _POWER.finditer(text) if (place := _operand(text, match.start())) is not None],
            originals,
            members,
            {*_BUFFER.findall(sketch.whole), *(name for name in set(_NAME.findall(text)) if RUNNING.match(name))},
            sketch.renamed,
            sketch.vocabulary,
        )


def _units(segment: Segment, text: str, facts: _Facts) -> Iterator[Unit]:
    if segment.kind != "class":
        yield _unit(text, facts, segment, Method(segment.name, segment.start, segment.end))
        return
    inner = segment.methods
    body = inner[0].start if inner else segment.end
    yield _unit(text, facts, segment, Method("", segment.start, body))
    heads = frozenset(_NAME.findall(segment.header))
    layer = (
        any(_LAYER_BASES.search(name) for name in heads)
        or _MAKES_PARAMETERS.search(text, segment.start, segment.end) is not None
        or not facts.spoken({segment.name, *heads}).isdisjoint(facts.vocabulary.lasts(Meaning.NORM))
    )
    for method in inner:
        if method.name != "__init__":
            # A class's bases lend it methods, so they belong to each of its own.
            unit = _unit(text, facts, segment, method, heads)
            yield replace(unit, layer=True) if layer and method.name == "forward" else unit


def _unit(text: str, facts: _Facts, segment: Segment, part: Method, further: frozenset[str] = frozenset()) -> Unit:
    start, end = part.start, part.end
    head = _HEAD.search(text, start, end) if part.name else None
    body = head.end() if head is not None else start  # a method does not mention its own name, which others may have
    plain = {*_NAME.findall(text, start, head.start() if head else start), *_NAME.findall(text, body, end)}
    places, found = facts.operations
    operations = set(found[bisect_right(places, start - 1) : bisect_right(places, end)])
    operations |= {facts.originals[each] for each in plain & facts.originals.keys()}
    if bisect_right(facts.powers, end) > bisect_right(facts.powers, start - 1):
        operations.add("pow")
    members = (facts.members[each] for each in plain & facts.members.keys())
    # Files and functions mention the same names.
    mentioned = tuple(map(intern, sorted(plain.union(further, *members))))
    words, spoken = facts.vocabulary, facts.spoken(mentioned)
    return Unit(
        segment.name,
        part.name,
        mentioned,
        statistic=not (STATISTICS.isdisjoint(operations) and words.lasts(Meaning.STATISTIC).isdisjoint(spoken)),
        stop=not (STOPPING.isdisjoint(operations) and words.lasts(Meaning.STOP).isdisjoint(spoken)),
        converts=bisect_right(facts.conversions, end) > bisect_right(facts.conversions, start - 1),
        state=not facts.running.isdisjoint(mentioned),
        spread=not _SPREADS.isdisjoint(operations),
    )


def _operand(text: str, end: int) -> int | None:
    """Return where the expression ends that a `**` follows, None where it unpacks a dictionary."""
    while end and text[end - 1].isspace():
        end -= 1
    return end - 1 if end and (text[end - 1].isalnum() or text[end - 1] in "_)]") else None


def _grouped(pairs: Iterable[tuple[str, Unit]]) -> dict[str, tuple[Unit, ...]]:
    groups: dict[str, list[Unit]] = defaultdict(list)
    for key, unit in pairs:
        groups[key].append(unit)
    return {key: tuple(units) for key, units in groups.items()}
