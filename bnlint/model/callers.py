"""Who called: what Python code hands to bnlint, and the line that warnings are about."""

from __future__ import annotations

import sys

from torch import nn

from bnlint.errors import UsageError


def require_module(model: object) -> None:
    """Refuse what is no model, before something in torch misses an attribute.

    Raises:
        UsageError: It is not an `nn.Module`.
    """
    if isinstance(model, nn.Module):
        return
    hint = "pass what it returns" if callable(model) else "pass the model; the command line takes names and files"
    raise UsageError(f"a model is an nn.Module, and this is a {type(model).__name__}", hint=hint)


def of_user() -> int:
    """Return the stack level, for a warning in the caller, of the code that called bnlint, or the model."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in ("bnlint", "torch"):
        level, frame = level + 1, frame.f_back
    return level
