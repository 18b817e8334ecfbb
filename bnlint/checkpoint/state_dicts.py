"""State dicts in a checkpoint, and the model that they belong to."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from bnlint.checkpoint.walk import walk
from bnlint.errors import InputError
from bnlint.model.state import first_line

#: what torch adds to a state dict from before it counted batches
_COUNTER = "num_batches_tracked"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class StateDict:
    """A state dict of a model.

    Attributes:
        place: Its dotted place in the checkpoint, "" for the whole of it.
        entries: The mapping itself, with whatever else it holds.
        prefix: What stands before the model's own keys: `module.` of DDP, `_orig_mod.` of torch.compile, the attribute
            of a Lightning module.
    """

    place: str
    entries: MutableMapping[str, Any]
    prefix: str

    @property
    def name(self) -> str:
        """What to call it."""
        inside = f" (keys behind `{self.prefix}`)" if self.prefix else ""
        return (f"`{self.place}`" if self.place else "the state dict") + inside


def mappings(content: object) -> Iterator[tuple[str, MutableMapping[Any, Any]]]:
    """Yield every dict of a checkpoint, however deep, with its dotted place; each once, and none inside a model."""
    return ((place, value) for place, value in walk(content) if isinstance(value, MutableMapping))


def state_dicts(content: object, keys: Collection[str]) -> list[StateDict]:
    """Find the state dicts of a model: mappings that hold a tensor for each of its keys, behind one prefix."""
    return [
        StateDict(place, entries, prefix)
        for place, entries in mappings(content)
        for prefix in _prefixes(entries, keys)
        if not _missing(entries, prefix, keys)
    ]


def load_state(
    model: nn.Module, content: object, where: str, read: Callable[[Any], Any] = lambda value: value
) -> list[StateDict]:
    """Give a model the values of the first of its state dicts in a checkpoint, without copying them where types agree.

    Args:
        model: The model.
        content: The checkpoint.
        where: What to call it.
        read: Gives a value of the checkpoint that is not in memory yet.

    Returns:
        All of its state dicts.

    Raises:
        InputError: None is complete, or its tensors have other shapes than the model's.
    """
    own = model.state_dict()
    found = state_dicts(content, own)
    if not found:
        raise _nothing_fits(content, own, where)
    first = found[0]
    values = {
        key: _fitting(read(first.entries[first.prefix + key]), own[key])
        for key in own
        if first.prefix + key in first.entries
    }
    try:
        model.load_state_dict(values, assign=True)
    except Exception as error:  # shapes that differ, and whatever hooks of the user's model do
        lines = str(error).splitlines()
        reason = lines[1].strip() if len(lines) > 1 else first_line(error)
        hint = "name the factory that made the model, with the arguments it was made with"
        raise InputError(f"{first.name} does not fit the model: {reason}", where=where, hint=hint) from error
    return found


def _fitting(value: Any, own: Any) -> Any:
    if not (isinstance(value, Tensor) and isinstance(own, Tensor)) or value.dtype == own.dtype:
        return value
    return value.to(own.dtype)


def _prefixes(entries: Mapping[Any, Any], keys: Collection[str]) -> list[str]:
    """Return what stands before the model's first key wherever it, or a key that ends like it, is met."""
    first = next(iter(keys), None)
    if first is None:
        return []
    ends = [key for key in entries if isinstance(key, str) and (key == first or key.endswith(f".{first}"))]
    return [key.removesuffix(first) for key in ends]


def _missing(entries: Mapping[Any, Any], prefix: str, keys: Collection[str]) -> list[str]:
    return [key for key in keys if prefix + key not in entries and not key.endswith(_COUNTER)]


def _nothing_fits(content: object, own: Mapping[str, Any], where: str) -> InputError:
    tensors = [
        (place, entries) for place, entries in mappings(content) if any(isinstance(v, Tensor) for v in entries.values())
    ]
    hint = "name the factory that made the model: --model PKG.MODULE:FACTORY"
    if not tensors:
        return InputError("holds neither a model nor a state dict", where=where, hint=hint)
    candidates = [(place, e, p) for place, e in tensors for p in (_prefixes(e, own) or [""])]
    place, entries, prefix = min(candidates, key=lambda c: len(_missing(c[1], c[2], own)))
    missing = _missing(entries, prefix, own)
    rest = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    named = ", ".join(f"`{key}`" for key in missing[:_SHOWN])
    what = f"no state dict in it fits the model: {StateDict(place, {}, prefix).name} lacks {named}{rest}"
    return InputError(what, where=where, hint=hint)
