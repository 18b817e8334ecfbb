"""The words of a project: names, declared in its configuration, of what bnlint cannot know by itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from bnlint.finding import Severity


class Meaning(StrEnum):
    """What a declared name is; the values are the keys of the configuration."""

    STOP = "stops"
    STATISTIC = "statistics"
    PASS_THROUGH = "pass-through"
    NORM = "norm-classes"


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule that a project adds: what findings say of it."""

    code: str
    name: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Word:
    """A declared name: a dotted path as it is imported (`acme.ops.freeze`), or a method (`.freeze`).

    `rule` is the rule of the project that reports what it stops, None where bnlint's own do.
    """

    name: str
    meaning: Meaning
    rule: OwnRule | None = None

    @property
    def last(self) -> str:
        """The last part of the name."""
        return self.name.rpartition(".")[2]

    @property
    def shown(self) -> str:
        """The name as messages have it."""
        return f"`{self.name}()`"


@dataclass(frozen=True)
class Vocabulary:
    """The words that hold in a file."""

    words: tuple[Word, ...] = ()

    @cached_property
    def paths(self) -> Mapping[str, Word]:
        """The words that are imported, by their dotted path."""
        return {word.name: word for word in self.words if not word.name.startswith(".")}

    @cached_property
    def methods(self) -> Mapping[str, Word]:
        """The words that are methods, by the name of the method."""
        return {word.last: word for word in self.words if word.name.startswith(".")}

    @cached_property
    def _lasts(self) -> Mapping[Meaning, frozenset[str]]:
        return {each: frozenset(w.last for w in self.words if w.meaning is each) for each in Meaning}

    def lasts(self, meaning: Meaning) -> frozenset[str]:
        """The last parts of all words of one meaning: a text that has none of them uses none, whatever it imports."""
        return self._lasts[meaning]

    @cached_property
    def rules(self) -> Mapping[str, OwnRule]:
        """The rules that a project adds, by code."""
        return {word.rule.code: word.rule for word in self.words if word.rule is not None}


NO_WORDS = Vocabulary()


def no_words(_: Path) -> Vocabulary:
    """Declare nothing in any file."""
    return NO_WORDS


_PART = r"[^\W\d]\w*"
_PATH = re.compile(rf"{_PART}(\.{_PART})+")
_METHOD = re.compile(rf"\.{_PART}")


def is_path(name: str) -> bool:
    """Whether a name is a dotted path with a module in it."""
    return _PATH.fullmatch(name) is not None


def is_method(name: str) -> bool:
    """Whether a name is that of a method."""
    return _METHOD.fullmatch(name) is not None
