"""The standard streams, however a process gets them: closed, or of an encoding that lacks characters."""

from __future__ import annotations

import io
import os
import sys

from bnlint.errors import InputError


def set_up() -> None:
    """Let printing never fail for what it is about.

    Files and pipes get UTF-8 whatever the locale, since documents say that they are, and names of files as the disk
    has them; a terminal gets what it can show. What is printed on a closed stream is gone.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (until the end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        if sys.stdout.isatty():
            sys.stdout.reconfigure(errors="backslashreplace")
        else:
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")


def forget_stdout() -> None:
    """Keep Python from writing once more, when it ends, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def read_stdin() -> bytes:
    """Read what comes on stdin, to its end.

    Raises:
        InputError: It is closed, or cannot be read.
    """
    if sys.stdin is None:
        raise InputError("cannot be read: it is closed", where="stdin")
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", where="stdin") from error
