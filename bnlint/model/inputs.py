"""The inputs that a command line names: shapes, files, or what a function makes."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from bnlint.errors import InputError, UsageError
from bnlint.model.factories import load_object
from bnlint.model.state import first_line

_SPEC = re.compile(r"((?P<name>[^\W\d]\w*)=)?(?P<value>.*)", re.DOTALL)
_FILES = {".pt", ".pth"}
_EXAMPLES = "write sizes like 8x3x32x32, a type as in 8x128:int64, a name as in mask=8x128:bool, or a file: batch.pt"


@dataclass(frozen=True)
class Inputs:
    """The arguments of a model: `model(*args, **kwargs)`."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def to(self, device: torch.device | str) -> Inputs:
        """Return them with every tensor on a device."""
        args, kwargs = tree_map_only(Tensor, lambda t: t.to(device), (self.args, dict(self.kwargs)))
        return Inputs(args, kwargs)

    def fitted(self, model: nn.Module) -> Inputs:
        """Return them as a model takes them: a dict whose keys are no arguments of its forward is one argument."""
        if self.args or not self.kwargs:
            return self
        try:
            inspect.signature(model.forward).bind(**self.kwargs)
        except TypeError:
            return Inputs((dict(self.kwargs),))
        except ValueError:  # the forward has no signature
            pass
        return self


def parse_inputs(specs: Sequence[str], factory: str | None = None) -> Inputs:
    """Make the inputs that a command line names, in order.

    A spec is a shape (normal float32 from a fixed seed; of an integer type 0 and 1, which any embedding has) or a file
    of torch.save that holds plain tensors and containers; `name=` before it makes it a keyword argument. Of a file, and
    of what the factory returns, a list is positional arguments and a dict keyword arguments.

    Raises:
        UsageError: A spec is none of these, or both kinds are given.
        InputError: A file cannot be read, or the factory fails.
    """
    if factory is not None:
        if specs:
            raise UsageError("--inputs stands alone", where="--input", hint="let the function return all inputs")
        return _unpacked(_called(factory))
    generator = torch.Generator().manual_seed(0)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for spec in specs:
        match = _SPEC.fullmatch(spec)
        name, value = (match["name"], match["value"]) if match else (None, spec)
        is_file = Path(value).suffix.lower() in _FILES
        made = _read(Path(value)) if is_file else _random(spec, value, generator)
        if name is not None:
            kwargs[name] = made
        elif is_file:
            found = _unpacked(made)
            args += found.args
            kwargs |= found.kwargs
        else:
            args.append(made)
    return Inputs(tuple(args), kwargs)


def read_or_called(spec: str, option: str) -> Any:
    """Return what a file of torch.save holds, or what `pkg.mod:name` is or returns.

    Raises:
        InputError: The file cannot be read, or the function fails.
    """
    if Path(spec).suffix.lower() in _FILES:
        return _read(Path(spec), "name a file that torch.save wrote, or a function: MODULE:NAME")
    value = load_object(spec, f"{option} is a file of torch.save, or MODULE:NAME, importable from here")
    return _guarded(value, spec) if callable(value) else value


def usable_device(name: str) -> torch.device:
    """Return a device by name; `auto` is the GPU where there is one, else the CPU.

    Raises:
        UsageError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"`{name}` cannot be used here: {first_line(error)}", where="--device") from error


def random_tensor(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Make a tensor: normal where the type has fractions, of 0 and 1 where it has none."""
    if dtype.is_floating_point or dtype.is_complex:
        wide = torch.complex64 if dtype.is_complex else torch.float32
        return torch.randn(list(shape), generator=generator, dtype=wide).to(dtype)
    return torch.randint(0, 2, list(shape), generator=generator).to(dtype)


def _random(spec: str, value: str, generator: torch.Generator) -> Tensor:
    sizes_text, colon, type_name = value.partition(":")
    sizes = sizes_text.lower().split("x")
    if not all(size.isascii() and size.isdigit() and int(size) > 0 for size in sizes):
        raise UsageError(f"`{spec}` is not a shape", where="--input", hint=_EXAMPLES)
    dtype = getattr(torch, type_name, None) if colon else torch.float32
    if not isinstance(dtype, torch.dtype):
        raise UsageError(f"`{type_name}` is not a type of torch", where="--input", hint="as in 8x128:int64")
    shape = [int(size) for size in sizes]
    try:
        return random_tensor(shape, dtype, generator)
    except (RuntimeError, TypeError) as error:
        count = math.prod(shape)
        what = f"`{spec}` cannot be made ({count:.2g} numbers): {first_line(error)}"
        raise UsageError(what, where="--input") from error


def _read(path: Path, hint: str = _EXAMPLES) -> Any:
    if not path.is_file():
        raise InputError("no such file", where=str(path), hint=hint)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # arbitrary bytes have no common error
        what = f"holds more than tensors and plain containers, or is damaged: {type(error).__name__}"
        hint = "save the batch as torch.save((x, y), path), or make it in a function: --inputs pkg.mod:make"
        raise InputError(what, where=str(path), hint=hint) from error


def _called(target: str) -> Any:
    value = load_object(target, "--inputs is MODULE:FUNCTION, importable from here, callable without arguments")
    if not callable(value):
        return value
    return _guarded(value, target)


def _guarded(function: Callable[[], Any], target: str) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(what, where=target, hint="it is called without arguments, and returns the inputs") from error


def _unpacked(value: Any) -> Inputs:
    if isinstance(value, Inputs):
        return value
    if type(value) in (tuple, list):
        return Inputs(tuple(value))
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return Inputs((), value)
    return Inputs((value,))
