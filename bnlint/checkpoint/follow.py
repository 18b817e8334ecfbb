"""What a repair changed of a model's tensors, done to the state dicts and optimizer states that lie beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bnlint.checkpoint.state_dicts import StateDict, mappings
from bnlint.errors import RepairError

_Shape = tuple[int, ...]
_HINT = "leave out --adopt-torch-conventions: shapes then stay as they are"


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of a model: its key in the state dict, which object it is, and whether an optimizer may train it."""

    key: str
    identity: int
    shape: _Shape
    parameter: bool


@dataclass(frozen=True, slots=True)
class Move:
    """What became of one tensor of a model: another key, another shape, or both."""

    key: str
    shape: _Shape
    new_key: str
    new_shape: _Shape


def held(model: nn.Module) -> list[Held]:
    """List the tensors of a model's state dict."""
    parameters = {id(p) for p in model.parameters()}
    return [
        Held(key, id(value), tuple(value.shape), id(value) in parameters)
        for key, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    ]


def moves(before: Sequence[Held], after: Sequence[Held]) -> list[Move]:
    """Tell which tensors have another key or shape than before.

    One that kept its key is known by that, else by being the same object.
    """
    by_key = {item.key: item for item in after}
    had = {item.key for item in before}
    by_identity = {item.identity: item for item in after if item.key not in had}
    pairs = ((item, by_key.get(item.key) or by_identity.get(item.identity)) for item in before)
    return [
        Move(old.key, old.shape, new.key, new.shape)
        for old, new in pairs
        if new is not None and (old.key, old.shape) != (new.key, new.shape)
    ]


def follow(content: object, states: Sequence[StateDict], made: Sequence[Move], before: Sequence[Held]) -> None:
    """Change state dicts and optimizer states in place as a model was changed; nothing else is touched.

    Args:
        content: The checkpoint.
        states: The state dicts in it that belong to the model.
        made: What the repair made of the model's tensors.
        before: The tensors of the model as it was.

    Raises:
        RepairError: It cannot be told which parameter an optimizer's state belongs to.
    """
    for state in states if made else ():
        _follow_state_dict(state, made)
    once = {item.identity: item for item in reversed(before) if item.parameter}  # an optimizer has a shared one once
    own = {item.key: item.shape for item in before if once.get(item.identity) is item}
    new_shapes = {move.key: move.new_shape for move in made if move.key in own and move.shape != move.new_shape}
    for place, optimizer in optimizers(content) if new_shapes else ():
        _follow_optimizer(place, optimizer, new_shapes, own)


def optimizers(content: object) -> Iterator[tuple[str, MutableMapping[Any, Any]]]:
    """Yield what `Optimizer.state_dict` gave, wherever it lies in a checkpoint."""
    for place, found in mappings(content):
        if isinstance(found.get("state"), Mapping) and isinstance(found.get("param_groups"), list):
            yield place, found


def _follow_state_dict(state: StateDict, made: Sequence[Move]) -> None:
    renamed = {state.prefix + move.key: state.prefix + move.new_key for move in made}
    shapes = {state.prefix + move.key: move.new_shape for move in made}
    items = list(state.entries.items())
    state.entries.clear()  # and filled again: a key that changes keeps its place
    for key, value in items:
        state.entries[renamed.get(key, key)] = _reshaped(value, shapes[key]) if key in shapes else value


def _follow_optimizer(
    place: str, optimizer: Mapping[Any, Any], new_shapes: Mapping[str, _Shape], own: Mapping[str, _Shape]
) -> None:
    states = {number: state for number, state in optimizer["state"].items() if _shapes(state)}
    names = _names(optimizer, states, own)
    changed = {own[name] for name in new_shapes}
    for number, state in states.items() if _belongs(states, names, own) else ():
        alike = [names[number]] if number in names else [n for n in own if own[n] in _shapes(state) & changed]
        shapes = {new_shapes.get(name, own[name]) for name in alike}
        if len(shapes) > 1:
            what = f"`{place}`: nothing tells whose state number {number} is, and its shape must follow its parameter's"
            raise RepairError(what, hint=_HINT)
        if not alike or alike[0] not in new_shapes:
            continue
        for key, value in state.items():
            if isinstance(value, Tensor) and value.dim():
                if tuple(value.shape) != own[alike[0]]:
                    what = f"`{place}`: `{key}` of `{alike[0]}` is not shaped like its parameter, and cannot follow it"
                    raise RepairError(what, hint=_HINT)
                state[key] = _reshaped(value, new_shapes[alike[0]])


def _shapes(state: Mapping[Any, Any]) -> set[_Shape]:
    """Return the shapes of what an optimizer keeps of one parameter; counters of steps have none."""
    return {tuple(value.shape) for value in state.values() if isinstance(value, Tensor) and value.dim()}


def _names(optimizer: Mapping[Any, Any], states: Mapping[Any, Any], own: Mapping[str, _Shape]) -> dict[Any, str]:
    """Tell which parameter each number stands for: by the names an optimizer keeps, or all in the model's order."""
    groups = optimizer["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    numbers = [number if number in states else str(number) for number in numbers]  # shards have texts for keys
    if set(numbers) <= set(own):
        return {name: name for name in numbers}
    names = [name for group in groups for name in group.get("param_names", ())]
    if len(names) == len(numbers) and set(names) <= set(own):
        return dict(zip(numbers, names, strict=True))
    if len(groups) == 1 and len(numbers) == len(own):
        ordered = dict(zip(numbers, own, strict=True))
        if all(own[ordered[number]] in _shapes(state) for number, state in states.items()):
            return ordered
    return {}


def _belongs(states: Mapping[Any, Any], names: Mapping[Any, str], own: Mapping[str, _Shape]) -> bool:
    """Whether an optimizer trains this model and not another one, as far as names and shapes tell."""
    shapes = Counter(shape for state in states.values() for shape in _shapes(state))
    return bool(names) or shapes <= Counter(own.values())


def _reshaped(value: Any, shape: _Shape) -> Any:
    """Give a tensor another shape on the memory that it has, so that whoever shares it still does."""
    if not isinstance(value, Tensor) or tuple(value.shape) == shape:
        return value
    if math.prod(shape) != value.numel():
        raise RepairError(f"a tensor of shape {tuple(value.shape)} cannot take the shape {shape}")
    view = value.detach().reshape(shape)
    return nn.Parameter(view, value.requires_grad) if isinstance(value, nn.Parameter) else view
