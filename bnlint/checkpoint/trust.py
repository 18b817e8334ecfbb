"""Which globals of a checkpoint may be used: those that are known to be harmless, and those that the user named.

A checkpoint is a program for the unpickler, and its globals are all that it can call. They are listed without running
anything, each must be admitted by name, and torch's weights-only unpickler then runs the program with nothing else in
reach.
"""

from __future__ import annotations

import _compat_pickle
import importlib
import importlib.util
import pickle
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn
from torch._weights_only_unpickler import _get_allowed_globals

from bnlint.checkpoint.blob import Source, start
from bnlint.errors import InputError, UntrustedError, lacking

# Of these, no layer calls eval or exec, imports, downloads, or opens a file, whatever its attributes are.
_LAYERS = (
    "torch.nn.modules",
    "torch.nn.parallel",
    "torch.optim.swa_utils",
    "torchvision.models",
    "torchvision.ops",
    "torchvision.transforms",
    "timm.layers",
    "timm.models",
    "bnlint.layers",
)

_COMPILED = "torch._dynamo.eval_frame.OptimizedModule"

_HARMLESS = frozenset(
    {
        # Plain values: they hold what they are given.
        "argparse.Namespace",
        "builtins.frozenset",
        "builtins.range",
        "builtins.slice",
        "pathlib.PosixPath",
        "types.SimpleNamespace",
        "lightning.fabric.utilities.data.AttributeDict",
        # Arrays and numbers of NumPy: random states and best scores. They are made of bytes, and of admitted objects.
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "numpy.ndarray",
        # It calls only what it is given, which was itself admitted (`norm_layer` of torchvision's VisionTransformer).
        "functools.partial",
        # So does what torch keeps a hook in; and the hook that `bnlint.repair` gives a layer takes a key out of a dict.
        "bnlint.layers.load_uncounted",
        "torch.nn.modules.module._WrappedHook",
        # Activations that nn.TransformerEncoderLayer and timm keep as attributes: arithmetic on their argument.
        "torch._C._nn.gelu",
        "torch.nn.functional.elu",
        "torch.nn.functional.leaky_relu",
        "torch.nn.functional.relu",
        "torch.nn.functional.silu",
        "timm.layers.activations.gelu",
        # What torchvision's detectors and timm's vision transformers hold: arithmetic, and an enumeration.
        "timm.layers.format.Format",
        "torchvision.models.detection._utils.BalancedPositiveNegativeSampler",
        "torchvision.models.detection._utils.BoxCoder",
        "torchvision.models.detection._utils.BoxLinearCoder",
        "torchvision.models.detection._utils.Matcher",
        "torchvision.models.detection._utils.SSDMatcher",
        "torchvision.models.optical_flow.raft._pass_through_h",
        "torchvision.ops.boxes.box_iou",
    }
)


@dataclass(frozen=True)
class Trust:
    """What the user allows a checkpoint to use beyond plain containers and the layers of known libraries.

    Attributes:
        code: Classes by name, from `--code`: each stands in for `__main__.Name`, and for a global of any other module
            that ends in its name, unless a library that is trusted anyway has that global.
        allow: Dotted names of classes, or of packages whose classes are all allowed, from `--allow`. The module of
            such a class is imported, which runs that package's own code. Functions, Python's standard library and
            classes that take their code from the file are never allowed.
        everything: Unpickle without a list, from `--trust`: whatever the file says is run.
    """

    code: Mapping[str, type] = field(default_factory=dict)
    allow: tuple[str, ...] = ()
    everything: bool = False


def globals_of(path: Source) -> tuple[str, ...]:
    """List the globals that a checkpoint asks for beyond what torch itself deems safe; nothing in it is run.

    Raises:
        InputError: The file is not one that `torch.save` wrote.
        UntrustedError: Its pickle is written so that the globals cannot be listed.
    """
    try:
        return tuple(sorted(torch.serialization.get_unsafe_globals_in_checkpoint(start(path))))
    except pickle.UnpicklingError as error:
        hint = "save it again with torch.save and its default pickle_protocol (2)"
        raise UntrustedError(
            f"its globals cannot be listed ({printable(error)}), so nothing was loaded", where=str(path), hint=hint
        ) from error
    except Exception as error:  # the reader meets arbitrary bytes here, and has no common error
        raise InputError(f"not a checkpoint of torch.save, or damaged: {printable(error)}", where=str(path)) from error


def resolve(path: Path, trust: Trust) -> list[tuple[Any, str]]:
    """Find what each global of a checkpoint stands for, and refuse the file unless every one is admitted.

    See `admitted`.
    """
    return admitted(globals_of(path), path, trust)


def admitted(names: Iterable[str], path: Path, trust: Trust) -> list[tuple[Any, str]]:
    """Find what each of the globals of a checkpoint stands for, and refuse it unless every one is admitted.

    Imports the modules of torch, torchvision and timm that the names lie in, those that `trust.allow` names, and
    nothing else.

    Returns:
        Pairs of object and name, as `torch.serialization.safe_globals` takes them.

    Raises:
        UntrustedError: Some globals were not named; it lists them, with the command that would allow them.
    """
    found = {name: _admitted(name, trust) for name in names}
    refused = [name for name, value in found.items() if value is None]
    if refused:
        raise _untrusted(path, refused, trust)
    pairs = [(value, name) for name, value in found.items()]
    if np.dtype in found.values():  # each type of number is a class of its own
        pairs += [
            (cls, f"numpy.dtypes.{cls.__name__}") for cls in {type(np.dtype(code)) for code in np.typecodes["All"]}
        ]
    return pairs


def standing(name: str) -> str:
    """Say what a global that a file names is to bnlint, importing nothing.

    Returns:
        "known" if it is loaded without a word, "ask" if an option must name it, else why none can.
    """
    name = ".".join(_compat(*name.rpartition(".")[::2]))
    if name in _get_allowed_globals() or name in _HARMLESS or _within(name.rpartition(".")[0], _LAYERS):
        return "known"
    return _objection(name, Trust()) or "ask"


def _compat(module: str, attribute: str) -> tuple[str, str]:
    """Give Python 3's name of what a file calls by Python 2's."""
    renamed = _compat_pickle.NAME_MAPPING.get((module, attribute))
    return renamed or (_compat_pickle.IMPORT_MAPPING.get(module, module), attribute)


def printable(text: object) -> str:
    """Give text that may come from a hostile file as one line that cannot steer a terminal."""
    return " ".join(
        "".join(c if c.isprintable() else " " if c.isspace() else ascii(c)[1:-1] for c in str(text)).split()
    )


def _admitted(name: str, trust: Trust) -> Any | None:
    if not _well_formed(name):
        return None
    module, _, attribute = name.rpartition(".")
    if name in _HARMLESS or _within(module, _LAYERS):
        value = _library(module, attribute)
        if name in _HARMLESS or (_is_class(value, nn.Module) and _within(value.__module__, _LAYERS)):
            return value
    if attribute in trust.code:
        return trust.code[attribute]
    if _within(name, trust.allow) and module != "__main__" and not _is_standard(name):
        value = _named(module, attribute)
        return value if _is_class(value, object) else None
    return None


def _is_class(value: object, base: type) -> bool:
    # These two take their code as text from the file.
    carriers = (fx.GraphModule, torch.jit.ScriptModule)
    return isinstance(value, type) and issubclass(value, base) and not issubclass(value, carriers)


def _library(module: str, attribute: str) -> Any | None:
    try:
        return vars(importlib.import_module(module)).get(attribute)
    except ImportError:
        return None


def _named(module: str, attribute: str) -> Any | None:
    try:
        return getattr(importlib.import_module(module), attribute, None)
    except (Exception, SystemExit) as error:
        where, hint = f"--allow {module}.{attribute}", lacking(error) or "install it, or run where it is"
        raise InputError(f"cannot import {module}: {error}", where=where, hint=hint) from error


def _within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)


def _well_formed(name: str) -> bool:
    # Importing a package's module __main__ would run that package.
    first, *rest = name.split(".")
    return bool(rest) and "__main__" not in rest and all(part.isidentifier() for part in (first, *rest))


def _is_standard(name: str) -> bool:
    # With pickle protocol 2 the file has Python 2's names: subprocess is written as commands.
    return name.partition(".")[0] in sys.stdlib_module_names.union(_compat_pickle.IMPORT_MAPPING)


def _objection(name: str, trust: Trust) -> str | None:
    """Say why no option admits a global, or None if naming it would."""
    if not _well_formed(name):
        return "not the name of a class"
    module, _, attribute = name.rpartition(".")
    package = name.partition(".")[0]
    if _is_standard(name):
        return "part of Python itself, not a layer"
    if module == "__main__":
        return None
    value = vars(sys.modules[module]).get(attribute) if module in sys.modules else None
    if value is not None:
        return None if _is_class(value, object) else "not a class" if not isinstance(value, type) else "carries code"
    if _within(name, trust.allow):
        return f"{module} has no such class"
    if _within(module, _LAYERS):
        return f"not in the installed {package}" if importlib.util.find_spec(package) else f"{package} is not installed"
    return None


def _untrusted(path: Path, refused: list[str], trust: Trust) -> UntrustedError:
    objections = {name: _objection(name, trust) for name in refused}
    lines = [f"  {printable(name)}" + (f" ({why})" if why else "") for name, why in objections.items()]
    nameable = [name for name, why in objections.items() if why is None]
    own = [name.removeprefix("__main__.") for name in nameable if name.startswith("__main__.")]
    allow = [f" --allow {name}" for name in nameable if not name.startswith("__main__.")]
    if _COMPILED in refused:
        hint = "it holds what torch.compile returned: save its `_orig_mod`, or its state dict, where it was made"
    elif len(nameable) < len(refused):
        hint = "no option names those with a reason beside them; do not load the file unless you know why it has them"
    else:
        code = " --code FILE.py" if own else ""
        hint = f"bnlint check {shlex.quote(str(path))}{code}{''.join(allow)}"
        hint += f"   (FILE.py is where {', '.join(own)} {'is' if len(own) == 1 else 'are'} defined)" if own else ""
    count = "1 global" if len(refused) == 1 else f"{len(refused)} globals"
    what = f"needs {count} that nobody named; nothing in it was run:\n" + "\n".join(lines)
    return UntrustedError(what, where=str(path), hint=hint)
