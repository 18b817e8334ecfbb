"""The live objects that a command line names by where Python finds them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bnlint.errors import BnlintError, InputError, lacking, nearest
from bnlint.model.failures import explained
from bnlint.model.state import first_line

_META = "build it outside of `torch.device('meta')`, or call model.to_empty(device='cpu') and initialize it"
_HINT = "the target is MODULE:FACTORY, importable from here, callable without arguments"


def load_factory(target: str, device: torch.device | str = "cpu") -> nn.Module:
    """Import `pkg.mod:factory` and return the model, on a device: what the callable returns, or the object itself.

    This runs the user's code. The current folder comes first on the import path.

    Raises:
        InputError: The import or the call fails, or gives no model.
    """
    return built(load_object(target, _HINT), target, device)


def built(value: Any, target: str, device: torch.device | str = "cpu") -> nn.Module:
    """Return the model that an object is or makes, on a device; `target` is what the user called it.

    Raises:
        InputError: The call fails, or gives no model.
    """
    try:
        model = value if isinstance(value, nn.Module) else value()
    except BnlintError:
        raise
    except (Exception, SystemExit) as error:
        hint = _HINT if isinstance(error, TypeError) else explained(error) or _HINT
        raise InputError(f"{type(error).__name__}: {first_line(error)}", where=target, hint=hint) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"gives a {type(model).__name__}, not an nn.Module", where=target)
    if any(tensor.is_meta for tensor in model.parameters()):
        raise InputError("its parameters are on the meta device: they have no values", where=target, hint=_META)
    try:
        return model.to(device)
    except Exception as error:
        what = f"cannot be moved to {device}: {type(error).__name__}: {first_line(error)}"
        raise InputError(what, where=target, hint=explained(error)) from error


def load_object(target: str, hint: str) -> Any:
    """Import `pkg.mod:name` and return the object.

    Raises:
        InputError: The import fails, or there is no such name.
    """
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value = importlib.import_module(module_name)
        for name in attribute.split("."):
            value = getattr(value, name)
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(what, where=target, hint=explained(error) or lacking(error) or _near(error) or hint) from error
    return value


def _near(error: BaseException) -> str | None:
    """Name what is most like the name that a module lacks."""
    if not isinstance(error, AttributeError) or error.obj is None:
        return None
    near = nearest(error.name or "", [name for name in dir(error.obj) if not name.startswith("_")], cutoff=0.6)
    return f"did you mean `{near}`?" if near else None
