"""How much memory the unpickling of a file may take: a small file can ask for any amount."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

#: beyond twice the file, for what libraries need meanwhile
_SLACK = 1 << 30


@contextmanager
def bounded(size: int) -> Iterator[None]:
    """Let the process have no more than some memory beyond twice the size of a file; where the system counts it.

    What asks for more gets Python's or torch's error of memory.
    """
    used = _data()
    if resource is None or used is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + 2 * size + _SLACK
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data() -> int | None:
    """Return the bytes of data that this process has, on Linux."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmData:")), None)
