"""What the arguments of a recorded reduction say: dimensions, `keepdim`, correction of the variance."""

from __future__ import annotations

from torch import fx

from bnlint.flow.einsum import Einsum, read_einsum
from bnlint.flow.ops import PAIRS, POOLS, SCATTERING, canonical
from bnlint.model.calls import name_of, nodes_in


def reduction_attributes(node: fx.Node) -> dict[str, object]:
    """Return `dims` (non-negative, None for all), `keepdim`, `correction` and `rank` of a node that is a reduction."""
    name = name_of(node)
    rank = max((len(each.meta["shape"]) for each in node.all_input_nodes if "shape" in each.meta), default=None)
    if rank is not None and name in POOLS:
        return _attributes(tuple(range(rank))[-_pooled(name) :], True, None, rank)
    if rank is not None and (equation := einsum_of(node)) is not None:
        return _attributes(equation.summed(rank), False, None, rank)
    if name in SCATTERING:
        return _attributes(None, False, None, None)  # some of the values each: over no dimensions
    name = canonical(name)
    rest = list(node.args[1:])
    spreads = name in {"var", "std"} or name in PAIRS
    correction = node.kwargs.get("correction")
    if correction is None and "unbiased" in node.kwargs:
        correction = int(bool(node.kwargs["unbiased"]))
    if rest and isinstance(rest[0], bool):  # var(input, unbiased)
        correction = int(bool(rest.pop(0)))
    if name == "norm" and rest:
        rest.pop(0)
    dims = node.kwargs.get("dim", node.kwargs.get("axis", rest[0] if rest else None))
    if spreads and len(rest) > 1 and isinstance(rest[1], bool):
        correction = int(bool(rest.pop(1)))
    keepdim = bool(node.kwargs.get("keepdim", rest[1] if len(rest) > 1 else False))
    if isinstance(dims, int):
        dims = (dims,)
    if isinstance(dims, (list, tuple)) and rank is not None and all(isinstance(d, int) for d in dims):
        dims = tuple(sorted(d % rank for d in dims)) if dims else None
    given = tuple(dims) if isinstance(dims, (list, tuple)) else None
    return _attributes(given, keepdim, 1 if correction is None and spreads else correction, rank)


def _attributes(
    dims: tuple[object, ...] | None, keepdim: bool, correction: object, rank: int | None
) -> dict[str, object]:
    return {"dims": dims, "keepdim": keepdim, "correction": correction, "rank": rank}


def einsum_of(node: fx.Node) -> Einsum | None:
    """Return what a call of `einsum` does, None where it is none or mixes its operands."""
    match node.args:
        case [str() as equation, *_]:
            return read_einsum(equation, len(nodes_in(node.args)))
        case _:
            return None


def pools_all(node: fx.Node) -> bool:
    """Whether a pooling leaves one value per channel; sizes tell, where they were recorded."""
    shape, name = node.meta.get("shape"), name_of(node)
    return shape is not None and name in POOLS and all(size == 1 for size in shape[-_pooled(name) :])


def _pooled(name: str) -> int:
    return int(name.removesuffix("d")[-1])
