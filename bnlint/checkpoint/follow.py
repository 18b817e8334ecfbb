"""What a repair changed of a model's tensors, done to the state dicts and optimizer states that lie beside it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bnlint.checkpoint.optimizers import OptimizerState, Shape, named, optimizers, unwrapped
from bnlint.checkpoint.state_dicts import StateDict
from bnlint.errors import RepairError

_HINT = "leave out --adopt-torch-conventions: shapes then stay as they are"


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor of a model: its key in the state dict, which object it is, and whether an optimizer may train it."""

    key: str
    identity: int
    shape: Shape
    parameter: bool


@dataclass(frozen=True, slots=True)
class Move:
    """What became of one tensor of a model: another key, another shape, or both."""

    key: str
    shape: Shape
    new_key: str
    new_shape: Shape


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
    prefixes = tuple(dict.fromkeys([*(state.prefix for state in states), ""]))
    for optimizer in optimizers(content) if made else ():
        _follow_optimizer(optimizer, {move.key: move for move in made}, before, prefixes)


def _follow_state_dict(state: StateDict, made: Sequence[Move]) -> None:
    renamed = {state.prefix + move.key: state.prefix + move.new_key for move in made}
    shapes = {state.prefix + move.key: move.new_shape for move in made}
    items = list(state.entries.items())
    state.entries.clear()  # and filled again: a key that changes keeps its place
    for key, value in items:
        state.entries[renamed.get(key, key)] = _reshaped(value, shapes[key]) if key in shapes else value


def _follow_optimizer(
    optimizer: OptimizerState, made: Mapping[str, Move], before: Sequence[Held], prefixes: Sequence[str]
) -> None:
    parameters = {item.key: item.shape for item in before if item.parameter}
    once = {item.identity: item.key for item in reversed(before) if item.parameter}  # a shared one is trained once
    own = {key: parameters[key] for key in parameters if key in once.values()}
    found = named(optimizer.members, parameters, prefixes)
    names = found or _numbered(optimizer, parameters, own, prefixes)
    if not names:
        _require_other(optimizer, made)
    if names or _fits(optimizer, own):
        for member in optimizer.slots:
            _reshape(optimizer, member, names.get(member), made, own)
    texts = found or named(optimizer.named, parameters, prefixes)
    optimizer.rename({text: _renamed(text, made[key]) for text, key in texts.items() if key in made})


def _reshape(
    optimizer: OptimizerState, member: Any, name: str | None, made: Mapping[str, Move], own: Mapping[str, Shape]
) -> None:
    """Give what is kept of one parameter the shape that this has now; nothing if it is not told whose it is."""
    shapes = {slot.shape for slot in optimizer.slots[member]}
    changed = {move.shape for move in made.values() if move.shape != move.new_shape}
    alike = [name] if name else [key for key in own if own[key] in shapes & changed]
    new_shapes = {made[key].new_shape if key in made else own[key] for key in alike}
    if len(new_shapes) > 1:
        what = f"`{optimizer.place}`: nothing tells whose state number {member} is, and its shape must follow its"
        raise RepairError(f"{what} parameter's", hint=_HINT)
    move = made.get(alike[0]) if alike else None
    if move is None or move.shape == move.new_shape:
        return
    for slot in optimizer.slots[member]:
        if slot.shape != move.shape:
            what = f"`{slot.name}` of `{move.key}` is not shaped like its parameter, and cannot follow it"
            raise RepairError(f"`{optimizer.place}`: {what}", hint=_HINT)
        slot.put(_reshaped(slot.value, move.new_shape))


def _numbered(
    optimizer: OptimizerState, parameters: Mapping[str, Shape], own: Mapping[str, Shape], prefixes: Sequence[str]
) -> dict[Any, str]:
    """Tell which parameter each number stands for: by the names an optimizer keeps, or all in the model's order."""
    members = optimizer.members
    if len(optimizer.named) == len(members):
        known = named(optimizer.named, parameters, prefixes)
        found = {member: known[n] for member, n in zip(members, optimizer.named, strict=True) if n in known}
        if found:
            return found
    if optimizer.groups == 1 and len(members) == len(own):
        ordered = dict(zip(members, own, strict=True))
        slots = optimizer.slots.items()
        if all(member in ordered and own[ordered[member]] in {slot.shape for slot in kept} for member, kept in slots):
            return ordered
    return {}


def _require_other(optimizer: OptimizerState, made: Mapping[str, Move]) -> None:
    """Refuse names that end like a parameter of the model, and begin with what no key of its state dicts does."""
    for member, kept in optimizer.slots.items():
        ends = [
            key for key in made if str(member).endswith(f".{key}") and {slot.shape for slot in kept} & {made[key].shape}
        ]
        if ends:
            what = f"nothing tells whether `{member}` is the parameter `{ends[0]}` of this model, which changes"
            raise RepairError(f"`{optimizer.place}`: {what}", hint=_HINT)


def _fits(optimizer: OptimizerState, own: Mapping[str, Shape]) -> bool:
    """Whether an optimizer trains this model and not another one, as far as shapes tell."""
    shapes = Counter(shape for kept in optimizer.slots.values() for shape in {slot.shape for slot in kept})
    return shapes <= Counter(own.values())


def _renamed(name: str, move: Move) -> str:
    """Return a parameter's name in an optimizer's state, after its key changed."""
    if name.endswith(move.key):
        return name.removesuffix(move.key) + move.new_key
    return name.removesuffix(unwrapped(move.key)) + unwrapped(move.new_key)


def _reshaped(value: Any, shape: Shape) -> Any:
    """Give a tensor another shape on the memory that it has, so that whoever shares it still does."""
    if not isinstance(value, Tensor) or tuple(value.shape) == shape:
        return value
    if math.prod(shape) != value.numel():
        raise RepairError(f"a tensor of shape {tuple(value.shape)} cannot take the shape {shape}")
    view = value.detach().reshape(shape)
    return nn.Parameter(view, value.requires_grad) if isinstance(value, nn.Parameter) else view
