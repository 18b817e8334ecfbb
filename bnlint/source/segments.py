"""Where the definitions of a file stand in its text, found without a parser.

A definition ends where the next one starts: what stands between two of them counts with the first, so nothing is lost.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

#: what starts at the left margin and may start something new, behind the end of the line above
_TOP = re.compile(
    r"\n(?:(?P<deco>@)|(?:async[ \t]+)?def[ \t]+(?P<function>\w+)|class[ \t]+(?P<cls>\w+)"
    r"|(?P<table>[^\W\d]\w*)[ \t]*(?::[^=\n]*)?=[ \t]*(?:\{|lambda\b"
    r"|(?:functools\.)?(?:partial|lru_cache|cache)\(|torch\.(?:compile|vmap|jit\.script)\("
    r"|(?!None\b|True\b|False\b)[^\W\d][\w.]*(?:\([\w.]+\))?[ \t]*$)"
    r"|(?P<other>from|import|if|__all__)\b)",
    re.M,
)
#: a block at the top level whose branches may define something: `try: import … except ImportError: def …`
_BLOCK = re.compile(r"\n(?:if|elif|else|try|except|finally|with)\b[^\n]*")
_INSIDE = re.compile(
    r"\n(?P<indent>[ \t]+)(?:(?P<deco>@)|(?:async[ \t]+)?def[ \t]+(?P<function>\w+)|class[ \t]+(?P<cls>\w+))"
)
_METHOD = re.compile(r"def[ \t]+(\w+)")
_INDENT = re.compile(r"([ \t]+)(?:async[ \t]+)?$")
#: how many lines of a decorator are looked through
MAX_DECORATOR = 6
#: the line of a definition, and the start of a statement behind it
_HEAD = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+\w+[ \t]*", re.M)
_OTHER = re.compile(r"\n[^\s#)\]}]")
_BASES = re.compile(r"\((.*?)\)\s*:", re.S)
_DOTTED = re.compile(r"[^\W\d][\w.]*$")


@dataclass(frozen=True, slots=True)
class Method:
    """A method, by the offsets between which it stands, its decorators included."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A definition at the top level: a `function`, a `class`, or a `table` (functions in a dict, or by another name).

    Of a class, `bases` are those that are dotted names, `header` is the text of all of them.

    `start` and `end` are offsets into the text; decorators are part of it. From `left` on, other statements follow.
    """

    kind: str
    name: str
    start: int
    left: int
    end: int
    bases: tuple[str, ...] = ()
    header: str = ""
    methods: tuple[Method, ...] = field(default=())


def segments_of(text: str) -> list[Segment]:
    """Find the definitions at the top level of a text without docstrings and comments (see `prose`)."""
    padded = f"\n{text}"
    found = [*_starts(_TOP.finditer(padded)), *_inside(padded)]
    starts = sorted(found, key=lambda each: (each[2], each[0] != "other"))  # a block ends where something else starts
    ends = [start for _, _, start in starts[1:]] + [len(text)]
    return [
        _segment(text, kind, name, start, end)
        for (kind, name, start), end in zip(starts, ends, strict=False)
        if kind != "other"
    ]


def _starts(matches: Iterable[re.Match[str]]) -> Iterator[tuple[str, str, int]]:
    """Yield the kind, the name and the offset of what starts, with its decorators."""
    decorated: int | None = None
    for match in matches:
        kind = str(match.lastgroup)
        if kind == "deco":
            decorated = match.start() if decorated is None else decorated
            continue
        start = match.start() if decorated is None or kind not in {"function", "cls"} else decorated
        decorated = None
        yield ("class" if kind == "cls" else kind), match[kind], start


def _inside(padded: str) -> Iterator[tuple[str, str, int]]:
    """Yield what starts in a block at the top level, but in no other definition, and where such a block ends."""
    for block in _BLOCK.finditer(padded):
        margin = _OTHER.search(padded, block.end())
        end = len(padded) if margin is None else margin.start()
        found = list(_starts(_outermost(_INSIDE.finditer(padded, block.end(), end))))
        yield from found
        if found:
            yield "other", "", end


def _outermost(matches: Iterable[re.Match[str]]) -> Iterator[re.Match[str]]:
    """Leave out what is further to the right than the definition above it."""
    depth: int | None = None
    for match in matches:
        indent = len(match["indent"].expandtabs())
        if depth is None or indent <= depth:
            yield match
            depth = indent


def _segment(text: str, kind: str, name: str, start: int, end: int) -> Segment:
    head = _HEAD.search(text, start, end)
    first = start if head is None or kind == "table" else text.find("\n", head.end())
    other = _OTHER.search(text, max(first - 1, start), end)
    left = end if other is None else other.start() + 1
    if kind != "class":
        return Segment(kind, name, start, left, end)
    found = None if head is None else _BASES.match(text, head.end(), end)
    parts = [] if found is None else [part.strip() for part in found[1].split(",")]
    bases = tuple(part for part in parts if _DOTTED.match(part))
    return Segment(kind, name, start, left, end, bases, found[1] if found else "", tuple(_methods(text, start, end)))


def _methods(text: str, start: int, end: int) -> Iterator[Method]:
    found: list[tuple[str, str, int]] = []
    for match in _METHOD.finditer(text, start, end):
        line = text.rfind("\n", 0, match.start()) + 1
        indent = _INDENT.match(text, line, match.start())
        if indent is not None:
            found.append((match[1], indent[1].expandtabs(), line))
    least = min((len(indent) for _, indent, _ in found), default=0)
    starts = [(name, _decorated(text, line, start)) for name, indent, line in found if len(indent) == least]
    ends = [each for _, each in starts[1:]] + [end]
    for (name, first), last in zip(starts, ends, strict=False):
        yield Method(name, first, last)


def _decorated(text: str, line: int, least: int) -> int:
    """Return where the decorators above a line start, or the line; a decorator may go over a few lines itself."""
    start, above = line, line
    for _ in range(MAX_DECORATOR):
        above = text.rfind("\n", 0, above - 1) + 1
        if above <= least:
            break
        if text[above : text.find("\n", above)].lstrip().startswith("@"):
            closes = text.count(")", above, start) == text.count("(", above, start)
            whole = text.count("\n", above, start) == 1
            if not (whole or closes):
                break
            start = above
        elif text[text.rfind("\n", 0, start - 1) + 1 : start].strip()[:1] not in {")", "]", "#"}:
            break
    return start
