"""What a new normalization layer can hold, by the class that is constructed: state, and options at their default."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass

STATE = ("weight", "bias", "running_mean", "running_var")
#: the options that a layer converts with, by their position in torch's constructors
OPTIONS = {"eps": 1, "momentum": 2}
_TORCH_BATCH = re.compile(r"(Sync)?BatchNorm(\dd)?$")
_AFFINE = frozenset({"GroupNorm", "LayerNorm"})


@dataclass(frozen=True, slots=True)
class Replacement:
    """The layer that a construction makes.

    Attributes:
        name: The class.
        state: The parameters and buffers that it has.
        defaults: The options of a batch norm that it takes and was not given.
    """

    name: str
    state: tuple[str, ...]
    defaults: tuple[str, ...]


def replacement(call: ast.Call, classes: Mapping[str, ast.ClassDef]) -> Replacement | None:
    """Describe what a construction makes, None for a class of which nothing is known.

    Args:
        call: The construction.
        classes: The classes of the same file.
    """
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            pass
        case _:
            return None
    if name in classes:
        state, options = _of_class(classes[name], classes, set())
        return Replacement(name, _without(call, state), _defaults(call, options))
    if _TORCH_BATCH.match(name):
        return Replacement(name, _without(call, STATE), _defaults(call, tuple(OPTIONS)))
    if name in _AFFINE:
        return Replacement(name, STATE[:2], ())
    return Replacement(name, STATE, ()) if "BatchNorm" in name else None


def _of_class(
    node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], seen: set[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the state and the options of a class of this file."""
    state: set[str] = set()
    options: tuple[str, ...] | None = None
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            given = {argument.arg for argument in [*item.args.args, *item.args.kwonlyargs]}
            options = () if item.args.kwarg else tuple(each for each in OPTIONS if each in given)
    for part in ast.walk(node):
        match part:
            case ast.Attribute(value=ast.Name("self"), attr=name, ctx=ast.Store()) if name in STATE:
                state.add(name)
            case ast.Call(func=ast.Attribute(attr=method), args=[ast.Constant(value=name), *_]) if (
                method in {"register_buffer", "register_parameter"} and name in STATE
            ):
                state.add(name)
    for base in node.bases:
        name = base.id if isinstance(base, ast.Name) else base.attr if isinstance(base, ast.Attribute) else ""
        if name in classes and name not in seen:
            inherited, theirs = _of_class(classes[name], classes, seen | {name})
        elif _TORCH_BATCH.match(name) or name == "_BatchNorm":
            inherited, theirs = STATE, tuple(OPTIONS)
        else:
            continue
        state |= set(inherited)
        options = theirs if options is None else options
    return tuple(each for each in STATE if each in state), options or ()


def _without(call: ast.Call, state: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out the state that the construction turns off."""
    off = {k.arg for k in call.keywords if isinstance(k.value, ast.Constant) and k.value.value is False}
    gone = {*(STATE[:2] if "affine" in off else ()), *(STATE[2:] if "track_running_stats" in off else ())}
    return tuple(each for each in state if each not in gone)


def _defaults(call: ast.Call, options: tuple[str, ...]) -> tuple[str, ...]:
    keywords = {keyword.arg for keyword in call.keywords}
    if None in keywords or any(isinstance(arg, ast.Starred) for arg in call.args):
        return ()
    return tuple(each for each in options if each not in keywords and len(call.args) <= OPTIONS[each])
