"""The one family of errors that means "bnlint could not do the job" (exit code 2)."""

from __future__ import annotations


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


class AssumptionWarning(CaptureWarning):
    """A model was run on an input that nobody gave."""
