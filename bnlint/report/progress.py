"""A progress bar for what takes longer than a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bnlint.errors import one_line

PATIENCE = 1.0


@contextmanager
def bar(total: int | None, what: str) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with the name of each item that is begun.

    Args:
        total: How many items there will be, None if that is not known.
        what: What is done to them, such as "measuring".
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=Console(stderr=True), transient=True)
    task = progress.add_task(what, total=total)
    started = time.monotonic()
    begun = 0

    def advance(name: str) -> None:
        nonlocal begun
        if not progress.live.is_started and time.monotonic() - started > PATIENCE:
            progress.start()
        progress.update(task, completed=begun, description=f"{what} {one_line(name)}")
        begun += 1

    try:
        yield advance
    finally:
        progress.stop()
