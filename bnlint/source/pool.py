"""Work on many files at once, where it pays: on Linux, with several processors, and with much to read."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

#: files of this size in all are checked sooner than processes start
MIN_BYTES = 300_000
#: parts of the work for each process, so that none waits long for another
PARTS = 8
_WATCH = 0.5

Result = TypeVar("Result")
_work: Callable[[Path], object] | None = None


def each(paths: Sequence[Path], work: Callable[[Path], Result]) -> Iterator[tuple[Path, Result]]:
    """Yield every path with what the work on it gives, in order.

    The processes are copies of this one, so the work may use whatever is here; what it changes stays there.
    """
    workers, sizes = _processors(), [_size(path) for path in paths]
    if workers == 1 or sum(sizes) < MIN_BYTES:
        yield from ((path, work(path)) for path in paths)
        return
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    global _work  # noqa: PLW0603  # what a copy of this process finds
    _work, done = work, 0
    parts = list(_parts(paths, sizes, workers * PARTS))
    pool = ProcessPoolExecutor(min(workers, len(parts)), get_context("fork"), _begin, (os.getpid(),))
    try:
        for part, results in zip(parts, pool.map(_worked, parts), strict=True):
            yield from zip(part, results, strict=True)
            done += len(part)
    except BrokenProcessPool:  # one was killed, as it happens where memory is short: the rest is done here
        yield from ((path, work(path)) for path in paths[done:])
    finally:
        # Python may print an error of its own at its end while processes are not gone; Ctrl-C must not wait for them.
        pool.shutdown(wait=done == len(paths), cancel_futures=True)
        _work = None


def _worked(part: Sequence[Path]) -> list[object]:
    assert _work is not None
    return [_work(path) for path in part]


def _begin(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end when it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _processors() -> int:
    """Count the processors that this process may use; elsewhere than on Linux, a copy of a process is no safe thing."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _parts(paths: Sequence[Path], sizes: Sequence[int], count: int) -> Iterator[list[Path]]:
    """Split files into parts of some size; neighbors, which read the same other files, stay together."""
    limit, part, size = sum(sizes) / count, list[Path](), 0
    for path, own in zip(paths, sizes, strict=True):
        part.append(path)
        size += own
        if size >= limit:
            yield part
            part, size = [], 0
    if part:
        yield part
