"""Whether the statistics of a normalization layer are taken over the dimensions that its kind of layer reduces."""

from __future__ import annotations

from collections.abc import Iterator

from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.layers import BATCH_NORMS, INSTANCE_NORMS
from bnlint.flow.leaves import leaves
from bnlint.flow.reading import squares, train_args
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.traits import Kind as TraitKind
from bnlint.flow.traits import Trait

#: a class named so is meant to be another norm than its base, which lends it parameters and buffers
_OTHER = ("instance", "layer", "group", "switch", "ghost", "split", "position", "style", "adain", "ibn", "mix")


def wrong_axes(graph: FlowGraph, site: Site) -> Iterator[Trait]:
    """Yield the statistics of a site that are taken over dimensions which the class of the layer excludes."""
    owner = graph.owner
    if owner is None:
        return
    over = {s.reduction: dims for s in site.statistics if (dims := _dims(graph, site, s)) is not None}
    found = False
    kind, rank = _kind(owner.bases)
    if rank is not None and not any(word in owner.name.lower() for word in _OTHER):
        for statistic in site.statistics:
            dims = over.get(statistic.reduction)
            problem = None if dims is None else _problem(kind, rank, dims)
            if problem is not None and _alone(graph, statistic):
                found = True
                yield _trait(statistic, f"{kind} norm {problem}")
    if not found and len(site.statistics) == 2 and len(over) == 2:
        first, second = site.statistics
        a, b = over[first.reduction], over[second.reduction]
        if a != b and (all(d >= 0 for d in a + b) or all(d < 0 for d in a + b)):
            marks = (("statistic", f"`{first.name}` is taken over {_text(a)} here", first.reduction),)
            text = f"`{second.name}` is taken over dimensions {_text(b)}, `{first.name}` over {_text(a)}"
            yield Trait(TraitKind.AXES, second.name, second.reduction, text, marks)


def _kind(bases: frozenset[str]) -> tuple[str, int | None]:
    for kind, ranks in (("batch", BATCH_NORMS), ("instance", INSTANCE_NORMS)):
        known = {rank for name in bases if (rank := ranks.get(name)) is not None}
        if len(known) == 1:
            return kind, known.pop()
    return "", None


def _problem(kind: str, rank: int, dims: tuple[int, ...]) -> str | None:
    positive = {dim % rank for dim in dims}
    if positive == set(range(rank - 1)):  # channels last
        return None
    if 1 in positive:
        return f"takes one statistic per channel, and dimensions {_text(dims)} hold the channels (1)"
    if kind == "batch" and 0 not in positive:
        return f"takes its statistics over the batch, and dimensions {_text(dims)} leave it out (0)"
    if kind == "instance" and 0 in positive:
        return f"takes its statistics per sample, and dimensions {_text(dims)} hold the batch (0)"
    return None


def _dims(graph: FlowGraph, site: Site, statistic: Statistic) -> tuple[int, ...] | None:
    """Return the literal dimensions of a statistic of the layer's input as it came, None for anything else."""
    node = graph[statistic.reduction]
    dims = node.attributes.get("dims")
    if not isinstance(dims, tuple) or not all(isinstance(dim, int) for dim in dims):
        return None
    return tuple(sorted(dims)) if _as_it_came(graph, site, node) else None


def _as_it_came(graph: FlowGraph, site: Site, reduction: Node) -> bool:
    """Whether a reduction sees the input in its own layout: nothing but casts, squares and centering on the way."""
    index = reduction.args[0]
    while index != site.input:
        node = graph[index]
        args = train_args(node)
        kept = node.attributes.get("cast") or node.name == "sub" or squares(graph, node)
        if node.kind is Kind.STOP or (node.kind is Kind.OP and kept):
            index = args[0]
        else:
            return False
    return graph[index].kind is Kind.INPUT


def _alone(graph: FlowGraph, statistic: Statistic) -> bool:
    """Whether what the statistic is mixed with before its use, if anything, is taken over the same dimensions."""
    dims = graph[statistic.reduction].attributes.get("dims")
    mixed = {leaf.reduction for arg in graph[statistic.use].args for leaf in leaves(graph, arg)}
    return all(graph[index].attributes.get("dims") == dims for index in mixed)


def _text(dims: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, dims))}{',' * (len(dims) == 1)})"


def _trait(statistic: Statistic, text: str) -> Trait:
    marks = (("use", "and it normalizes its own input here", statistic.use),)
    return Trait(TraitKind.AXES, statistic.name, statistic.reduction, text, marks)
