"""What the arguments of a reduction say where they are literal: dimensions, `keepdim`, correction of the variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnlint.source import syntax
from bnlint.source.parameters import code
from bnlint.source.values import Items, Literal, Value

_MISSING = object()
#: reductions whose second argument is an order, not dimensions
_NORMS = frozenset({"norm", "vector_norm", "linalg_vector_norm", "linalg_norm"})


def reduction_attributes(name: str, args: Sequence[Value], kwargs: Mapping[str, Value]) -> dict[str, object]:
    """Return what is known of a reduction, named as in the runtime check.

    Args:
        name: The canonical name of the reduction.
        args: Its positional arguments, the tensor first.
        kwargs: Its keyword arguments.

    Returns:
        `dims` (None for all; negative as written), `keepdim` and `correction`, each only where the text spells it out.
    """
    rest = list(args if "input" in kwargs else args[1:])
    if name in _NORMS and rest:
        rest.pop(0)
    found: dict[str, object] = {}
    spreads = name in {"var", "std"}
    corrected: object = 1
    if spreads and rest and isinstance(_literal(rest[0]), bool):  # var(input, unbiased)
        corrected = _literal(rest.pop(0))
    elif spreads and len(rest) > 1:  # var(input, dim, unbiased, keepdim)
        corrected = _literal(rest.pop(1))
    if "unbiased" in kwargs or "correction" in kwargs:
        corrected = _literal(kwargs.get("unbiased", kwargs.get("correction", Literal(None))))
    if spreads and isinstance(corrected, (bool, int, float)):
        found["correction"] = int(corrected)
    given = kwargs.get("dim", kwargs.get("axis", rest[0] if rest else Literal(None)))
    dims = _dims(given)
    if dims is not _MISSING:
        found["dims"] = dims
    keepdim = _literal(kwargs.get("keepdim", kwargs.get("keepdims", rest[1] if len(rest) > 1 else Literal(False))))
    if isinstance(keepdim, bool):
        found["keepdim"] = keepdim
    return found


def _literal(value: Value) -> object:
    return value.value if isinstance(value, Literal) else _MISSING


def _dims(value: Value) -> object:
    match value:
        case Literal(None):
            return None
        case Literal(int() as dim):
            return (dim,)
        case Items(entries=entries, each=None) if entries:
            parts = [_literal(entry) for entry in entries.values()]
            return tuple(parts) if all(type(part) is int for part in parts) else _MISSING
        case _:
            return _MISSING


def over(node: syntax.Call, given: int) -> str:
    """Return the text of a reduction's arguments without its tensor: two that agree reduce the same dimensions."""
    own = node.args if given > len(node.args) else node.args[1:]
    return ", ".join(code(argument) for argument in own)
