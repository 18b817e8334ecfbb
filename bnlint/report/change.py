"""What a fix would change, as the lines that go and the lines that come."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass

#: a fix that changes more lines than this is told by its message alone
LONGEST = 12
_LINE_ENDS = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Changed:
    """A line that a fix removes or adds, with its number before or after."""

    number: int
    added: bool
    text: str


def changes(before: str, after: str) -> list[Changed]:
    """List the lines in which two texts differ, old ones before new ones; nothing where there are too many."""
    listed = list(_changes(_LINE_ENDS.split(before), _LINE_ENDS.split(after)))
    return listed if len(listed) <= LONGEST else []


def _changes(old: list[str], new: list[str]) -> Iterator[Changed]:
    # A fix touches few lines of a long file: comparing the rest would take longer than finding the fix.
    same = next(
        (at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    most = min(len(old), len(new)) - same
    tail = next((at for at in range(most) if old[-1 - at] != new[-1 - at]), most)
    matcher = difflib.SequenceMatcher(None, old[same : len(old) - tail], new[same : len(new) - tail])
    for kind, start, end, new_start, new_end in matcher.get_opcodes():
        if kind != "equal":
            yield from (Changed(same + at + 1, False, old[same + at]) for at in range(start, end))
            yield from (Changed(same + at + 1, True, new[same + at]) for at in range(new_start, new_end))
