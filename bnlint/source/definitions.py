"""Files that are read for the sake of others, and what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bnlint.source.outline import Outline, outline
from bnlint.source.text import SourceText
from bnlint.vocabulary import Vocabulary

#: larger files are data
MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Read:
    """A file that was read for the sake of another."""

    text: SourceText
    outline: Outline


@dataclass(frozen=True, slots=True)
class Definition:
    """A definition at the top level of a file of the project; the name is "" for the file itself.

    Of a class, `method` is the one that is meant; "" for the class as a whole.
    """

    file: Path
    name: str
    method: str = ""


def read_file(file: Path, vocabulary: Callable[[Path], Vocabulary], held: bytes | None = None) -> Read | None:
    """Read a file for another's sake, or what is `held` of it; None if there is none, or none that can be followed."""
    try:
        if held is None and (not file.is_file() or file.stat().st_size > MAX_BYTES):
            return None
        text = SourceText.decode(file.read_bytes() if held is None else held)
    except (OSError, SyntaxError, ValueError):
        return None
    return Read(text, outline(text.text, vocabulary(file)))
