"""The one family of errors that means "bnlint could not do the job" (exit code 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile

from bnlint.paths import is_file, is_folder


class BnlintError(Exception):
    """bnlint could not do the job; a finding is never an exception.

    Args:
        what: What went wrong, in one line and in the user's words.
        where: The file, module path or option that it is about, if any.
        hint: What to do next, ideally a command that can be pasted.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(f"{where}: {what}" if where else what)
        self.what = what
        self.where = where
        self.hint = hint


class UsageError(BnlintError):
    """The command line or the configuration asks for something that does not exist."""


class InputError(BnlintError):
    """A file, model or input that was named cannot be read or run."""


class UntrustedError(BnlintError):
    """A checkpoint needs globals that nobody named; nothing in it was executed."""


class RepairError(BnlintError):
    """A repair was refused: its result could not be proved right."""


class CaptureWarning(UserWarning):
    """A model was run, but what was recorded does not replay exactly; only part of it could be checked."""


class GradientWarning(UserWarning):
    """A model is being trained with a wrong gradient: what `bnlint.watch` found in its first step."""


class AssumptionWarning(CaptureWarning):
    """A model was run on an input that nobody gave."""


@contextmanager
def needing(extra: str, what: str, *modules: str) -> Iterator[None]:
    """Name the extra to install where a module is missing; `what` says what needs the first of them.

    Raises:
        BnlintError: One of the modules is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in modules:
            raise
        told = f"{what} {modules[0]}, which is not installed"
        raise BnlintError(told, hint=f'pip install "bnlint[{extra}]"') from error


def lacking(error: BaseException) -> str | None:
    """Say how the module that an import lacked can be imported, where it lies below `src`; else None."""
    name = (error.name or "") if isinstance(error, ModuleNotFoundError) else ""
    path = f"src/{name.replace('.', '/')}"
    if name and (is_folder(path) or is_file(f"{path}.py")):
        return f"{name} lies below src: install the project (pip install -e .), or set PYTHONPATH=src"
    return None


def told(error: BnlintError) -> str:
    """Return what a terminal says of an error: one line, and one more with the hint."""
    kind = "usage" if isinstance(error, UsageError) else "error"
    where = f"{one_line(error.where)}: " if error.where else ""
    what = "\n".join(one_line(each) for each in error.what.split("\n"))
    hint = f"\n  {'try' if error.hint.startswith('bnlint ') else 'hint'}: {one_line(error.hint)}" if error.hint else ""
    return f"{kind}: {where}{what}{hint}"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.0) -> str | None:
    """Return the known name that is most like another one, of several that which begins like it; None where none is."""
    from difflib import SequenceMatcher  # only what goes wrong needs it

    def likeness(each: str) -> tuple[float, int]:
        same = takewhile(lambda pair: pair[0] == pair[1], zip(each, name, strict=False))
        return SequenceMatcher(None, each, name).ratio(), sum(1 for _ in same)

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best)[0] >= cutoff else None


def one_line(text: str) -> str:
    """Keep a text in its line, whatever the name of a file is made of."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
