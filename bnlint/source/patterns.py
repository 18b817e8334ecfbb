"""Patterns of paths, in the syntax and with the meaning of .gitignore."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class Patterns:
    """Ignore patterns, read relative to the folder `base`."""

    base: Path
    spec: GitIgnoreSpec

    @classmethod
    def compile(cls, base: Path, lines: Iterable[str]) -> Patterns:
        """Compile patterns; like git, pass over those that are malformed."""
        from pathspec import GitIgnoreSpec  # most runs meet no pattern, and it takes a tenth of a short one

        return cls(base, GitIgnoreSpec.from_lines(line for line in lines if _is_pattern(line)))

    def verdict(self, path: str) -> bool | None:
        """Whether they ignore this absolute path (a folder ends in a separator); None where they are silent."""
        below = path.removeprefix(os.path.join(self.base, ""))  # noqa: PTH118 (Path drops the final separator)
        return self.spec.check_file(below).include if below and below != path else None


def ignored(path: str, patterns: Sequence[Patterns]) -> bool:
    """As in git, the first that says something about a path decides; patterns come innermost first."""
    return next((verdict for each in patterns if (verdict := each.verdict(path)) is not None), False)


def anchored(pattern: str, base: Path) -> str:
    """Spell a pattern that names a path as people do (`./src`, or from the root) as one from the folder `base` on."""
    without = next((head for head in ("./", os.path.join(base, "")) if pattern.startswith(head)), None)  # noqa: PTH118
    return pattern if without is None else f"/{pattern.removeprefix(without)}"


def _is_pattern(line: str) -> bool:
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line])
    except (ValueError, re.error):
        return False
    return True
