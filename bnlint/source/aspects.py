"""What a check looks at in another file: less than all of it, so that most changes there mean no new check.

An aspect is a text, since the cache keeps it: one of the constants, or one of them with a name behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bnlint.source.definitions import Read
    from bnlint.source.outline import Outline, Unit

#: whether there is such a file or folder
THERE = "there"
#: every byte
CONTENT = "content"
#: which names it defines and imports
NAMES = "names"
#: its imports by stars
STARS = "stars"
#: `__all__`
EXPORTS = "exports"
#: what a name at its top level is: definitions with their bases, and what it is imported from
NAME = "name"
#: what the functions of a definition at the top level do, and what the names mean that they mention
UNITS = "units"
#: the text of a definition at the top level, wherever it stands; without a name, what is in none
TEXT = "text"


def hashed(content: bytes) -> str:
    """Return a digest, 40 hexadecimal digits."""
    return hashlib.blake2b(content, digest_size=20).hexdigest()


def seen(read: Read | None, aspect: str) -> object:
    """Return an aspect of a file as it is now, as something whose `repr` is equal where nothing has changed.

    Raises:
        ValueError: There is no such aspect, or it is none of the text.
    """
    if read is None:
        return None
    kind, _, name = aspect.partition(" ")
    sketch = read.outline
    match kind:
        case "names":
            return sorted(sketch.names | sketch.imports.keys())
        case "stars":
            return sketch.stars
        case "exports":
            return None if sketch.exports is None else sorted(sketch.exports)
        case "name":
            defined = [(each.kind, each.bases) for each in sketch.segments if each.name == name]
            return defined, sketch.imports.get(name), sketch.stars
        case "units":
            return [_facts(sketch, unit) for unit in sketch.of(name)], sketch.stars
        case "text":
            return list(_lines(sketch, name))
        case _:
            raise ValueError(f"no aspect of a text: {kind}")


def _facts(sketch: Outline, unit: Unit) -> tuple[object, ...]:
    names = {
        name: (sketch.imports.get(name), [(each.top, each.name) for each in sketch.defining.get(name, ())])
        for name in unit.names
    }
    return unit.name, names, unit.statistic, unit.stop, unit.converts, unit.state, unit.spread, unit.layer


def _lines(sketch: Outline, name: str) -> Iterator[str]:
    """Yield the lines of the definitions of this name, or of what is in none, but for empty ones and comments."""
    parts: list[str] = []
    done = 0
    for segment in sketch.segments:
        if not name:
            parts.append(sketch.whole[done : segment.start])
            done = segment.left
        elif segment.name == name:
            parts.append(sketch.whole[segment.start : segment.left])
    for part in parts if name else [*parts, sketch.whole[done:]]:
        yield from (line for line in part.split("\n") if line.strip() and not line.lstrip().startswith("#"))
