"""What a path is, asked so that the answer to a name that is too long or a folder that may not be searched is no.

Before Python 3.14, pathlib raises there.
"""

from __future__ import annotations

import os


def exists(path: str | os.PathLike[str]) -> bool:
    """Whether it can be seen that there is something."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | os.PathLike[str]) -> bool:
    """Whether it can be seen to be a regular file."""
    return os.path.isfile(path)  # noqa: PTH113


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether it can be seen to be a folder."""
    return os.path.isdir(path)  # noqa: PTH112


def is_here_gone() -> bool:
    """Whether the working folder does not exist any more."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return True
    return False
