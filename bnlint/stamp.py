"""Whether a file has changed, without reading it."""

from __future__ import annotations

from pathlib import Path

#: when a file was changed last and how long it is; None where there is no file
Stamp = tuple[int, int] | None


def stamp(path: Path) -> Stamp:
    """Look when a file was changed last and how long it is."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return (found.st_mtime_ns, found.st_size) if path.is_file() else None
