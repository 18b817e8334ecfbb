"""Optimizer states in a checkpoint: as `Optimizer.state_dict` gives them, or `torch.distributed.checkpoint.state_dict`.

The latter are keyed by the names of parameters, and may be flat: `state.0.weight.exp_avg`, `param_groups.0.weight.lr`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from bnlint.checkpoint.state_dicts import mappings

Shape = tuple[int, ...]
_STATE, _GROUPS, _PARAMS, _NAMES = "state", "param_groups", "params", "param_names"
#: what wraps a model, and is in its keys but not in the names of torch.distributed.checkpoint.state_dict
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that an optimizer keeps of a parameter, such as its momentum, and where it lies."""

    name: str
    holder: MutableMapping[Any, Any]
    key: Any

    @property
    def value(self) -> Tensor:
        """The tensor."""
        value: Tensor = self.holder[self.key]
        return value

    @property
    def shape(self) -> Shape:
        """Its shape, which is mostly that of the parameter."""
        return tuple(self.value.shape)

    def put(self, value: Tensor) -> None:
        """Put another tensor in its place."""
        self.holder[self.key] = value


@dataclass(frozen=True, slots=True)
class OptimizerState:
    """The state of an optimizer.

    Attributes:
        place: Its dotted place in the checkpoint.
        content: The mapping itself.
        slots: What it keeps of each parameter, by the parameter's number or name; counters of steps are left out.
        members: Numbers or names of all its parameters, in order.
        named: The names that an optimizer of named parameters keeps, in the same order.
        groups: How many groups of parameters it has.
    """

    place: str
    content: MutableMapping[Any, Any]
    slots: Mapping[Any, list[Slot]]
    members: list[Any]
    named: list[str]
    groups: int

    def rename(self, names: Mapping[str, str]) -> None:
        """Give parameters other names, wherever they are named; what is keyed by them keeps its place."""
        if _flat(self.content):
            _rekey(self.content, lambda key: _renamed_flat(key, names))
            return
        _rekey(self.content[_STATE], lambda key: names.get(key, key))
        for group in _groups(self.content):
            for key in (_PARAMS, _NAMES):
                if isinstance(group.get(key), list | tuple):
                    group[key] = type(group[key])(names.get(m, m) if isinstance(m, str) else m for m in group[key])


def optimizers(content: object) -> Iterator[OptimizerState]:
    """Yield the optimizer states of a checkpoint, wherever they lie."""
    for place, found in mappings(content):
        if _flat(found):
            yield _of_flat(place, found)
        elif isinstance(found.get(_STATE), MutableMapping) and isinstance(found.get(_GROUPS), list):
            yield _of_groups(place, found)


def named(names: Collection[Any], keys: Collection[str], prefixes: Iterable[str]) -> dict[str, str]:
    """Tell which parameter of a model each name stands for; nothing where one behind the same prefix stands for none.

    Args:
        names: The names in an optimizer's state.
        keys: The keys of the model's parameters.
        prefixes: What may stand before them.
    """
    for prefix in prefixes:
        known = {unwrapped(prefix + key): key for key in keys} | {prefix + key: key for key in keys}
        behind = [name for name in names if isinstance(name, str) and name.startswith((prefix, unwrapped(prefix)))]
        if behind and known.keys() >= set(behind):
            return {name: known[name] for name in behind}
    return {}


def unwrapped(key: str) -> str:
    """Return a key without what wraps the model, as `torch.distributed.checkpoint.state_dict` names a parameter."""
    return ".".join(part for part in key.split(".") if part not in _WRAPPERS)


def _flat(found: Mapping[Any, Any]) -> bool:
    return any(isinstance(key, str) and key.startswith(f"{_GROUPS}.") for key in found)


def _of_flat(place: str, content: MutableMapping[Any, Any]) -> OptimizerState:
    slots: dict[Any, list[Slot]] = defaultdict(list)
    members: dict[Any, None] = {}
    for key, value in content.items():
        whole, _, kept = str(key).rpartition(".")
        kind, _, name = whole.partition(".")
        if kind == _STATE and isinstance(value, Tensor) and value.dim():
            slots[name].append(Slot(kept, content, key))
        if kind in (_STATE, _GROUPS):
            members[name] = None
    return OptimizerState(place, content, slots, list(members), [], len(members))


def _of_groups(place: str, content: MutableMapping[Any, Any]) -> OptimizerState:
    slots = {
        number: [Slot(str(key), kept, key) for key, value in kept.items() if isinstance(value, Tensor) and value.dim()]
        for number, kept in content[_STATE].items()
        if isinstance(kept, MutableMapping)
    }
    groups = _groups(content)
    members = [member for group in groups for member in _members(group, _PARAMS)]
    members = [member if member in slots else str(member) for member in members]  # shards have texts for keys
    names = [name for group in groups for name in _members(group, _NAMES)]
    return OptimizerState(place, content, {n: s for n, s in slots.items() if s}, members, names, len(groups))


def _groups(content: Mapping[Any, Any]) -> list[MutableMapping[Any, Any]]:
    return [group for group in content[_GROUPS] if isinstance(group, MutableMapping)]


def _members(group: Mapping[Any, Any], key: str) -> list[Any]:
    """Return the parameters that a group lists; anything else in a file is no list of an optimizer."""
    found = group.get(key)
    return [each for each in found if isinstance(each, str | int)] if isinstance(found, list | tuple) else []


def _renamed_flat(key: Any, names: Mapping[str, str]) -> Any:
    whole, _, kept = str(key).rpartition(".")
    kind, _, name = whole.partition(".")
    return f"{kind}.{names[name]}.{kept}" if kind in (_STATE, _GROUPS) and name in names else key


def _rekey(mapping: MutableMapping[Any, Any], new: Any) -> None:
    items = list(mapping.items())
    mapping.clear()
    mapping.update((new(key), value) for key, value in items)
