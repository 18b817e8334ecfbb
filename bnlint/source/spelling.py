"""What findings call a file: as it was named, else from the working folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def absolute(path: Path) -> Path:
    """Return a path from the root, links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps `..`)


class Spelling:
    """What findings of a run call files.

    Args:
        paths: The files that are checked, as they were named.
    """

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._named = {os.path.abspath(path): str(path) for path in paths}  # noqa: PTH100
        self._here = os.path.join(Path.cwd(), "")  # noqa: PTH118 (Path drops the final separator)

    def __call__(self, file: Path | str) -> str:
        """Return what a file is called; the path is absolute."""
        return self._named.get(str(file)) or str(file).removeprefix(self._here)
