"""The inputs and the live models that a command line names."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from bnlint.errors import InputError, UsageError
from bnlint.model.state import first_line


def parse_inputs(specs: Sequence[str]) -> tuple[Tensor, ...]:
    """Make inputs of shapes such as `8x3x32x32`: normal, float32, from a fixed seed, one per spec.

    Raises:
        UsageError: A spec is not a shape.
    """
    generator = torch.Generator().manual_seed(0)
    tensors: list[Tensor] = []
    for spec in specs:
        sizes = spec.lower().split("x")
        if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
            raise UsageError(f"`{spec}` is not a shape", where="--input", hint="write sizes like 8x3x32x32")
        try:
            tensors.append(torch.randn([int(size) for size in sizes], generator=generator))
        except RuntimeError as error:
            raise UsageError(f"`{spec}` cannot be made: {first_line(error)}", where="--input") from error
    return tuple(tensors)


def load_factory(target: str) -> nn.Module:
    """Import `pkg.mod:factory` and return the model: what the callable returns, or the object itself.

    This runs the user's code. The current folder comes first on the import path.

    Raises:
        InputError: The import or the call fails, or gives no model.
    """
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        value = importlib.import_module(module_name)
        for name in attribute.split("."):
            value = getattr(value, name)
        model = value if isinstance(value, nn.Module) else value()  # type: ignore[operator]
    except (Exception, SystemExit) as error:
        raise InputError(
            f"{type(error).__name__}: {first_line(error)}",
            where=target,
            hint="the target is MODULE:FACTORY, importable from here, callable without arguments",
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(f"gives a {type(model).__name__}, not an nn.Module", where=target)
    return model


def usable_device(name: str) -> torch.device:
    """Return a device by name.

    Raises:
        UsageError: There is no such device here.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"`{name}` cannot be used here: {first_line(error)}", where="--device") from error
