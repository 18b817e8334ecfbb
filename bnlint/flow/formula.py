"""Whether a normalization layer computes what its kind of layer computes: correction, eps, dimensions, cancellation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnlint.finding import Severity
from bnlint.flow.axes import wrong_axes
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.layers import between, layer_sites
from bnlint.flow.ops import CASTS, Role, role
from bnlint.flow.purposes import Purpose
from bnlint.flow.reading import exponent, squares, train_args
from bnlint.flow.sites import Site, Statistic
from bnlint.flow.traits import Kind as TraitKind
from bnlint.flow.traits import Trait

_SCALES = frozenset({"var", "std", "rms"})
_COLLECTIVES = frozenset({"all_reduce", "all_gather", "all_gather_into_tensor", "reduce", "reduce_scatter"})
_ZERO = {"rms": "an input of zeros"}
_CONSTANT = "a channel of one value"
_NO_EPS = "nothing keeps the divisor from zero: {} gives NaN"
_OUTSIDE = (
    "eps comes after the root, not under it: the root of zero has an infinite gradient, so {} gets a gradient of NaN"
)
#: torch gives a standard deviation of zero a gradient of zero
BOUNDED = Purpose(
    Severity.NOTE,
    "eps comes after the root, not under it: a channel of one value multiplies gradients by 1 / eps instead of "
    "1 / sqrt(eps)",
)


def traits(graph: FlowGraph, sites: Sequence[Site]) -> Iterator[Trait]:
    """Yield what is unusual or dangerous in the arithmetic of the normalization layers of a graph."""
    for site in layer_sites(graph, sites):
        yield from wrong_axes(graph, site)
        for statistic in site.statistics:
            if statistic.name in _SCALES:
                yield from _unbiased(graph, statistic) if _is_centered(site, sites) else ()
                yield from _eps(graph, statistic)
                yield from _cancelling(graph, site, statistic)


def _is_centered(site: Site, sites: Sequence[Site]) -> bool:
    """Whether a mean is taken out as well; a scale alone is no normalization that torch has too."""
    means = [s for each in sites for s in each.statistics if s.name == "mean"]
    return any(s in site.statistics or s.use == site.input for s in means)


def _unbiased(graph: FlowGraph, statistic: Statistic) -> Iterator[Trait]:
    """Torch's layers divide by the biased variance; `var` and `std` are unbiased unless they are told otherwise."""
    steps = _steps(graph, statistic) or {}
    if graph[statistic.reduction].attributes.get("correction") != 1:
        return
    if statistic.name == "var" and not ({"root"} & set(steps.values()) or graph[statistic.use].name == "batch_norm"):
        return
    what = "variance" if statistic.name == "var" else "standard deviation"
    yield Trait(
        TraitKind.UNBIASED,
        statistic.name,
        statistic.reduction,
        f"the layer divides by the unbiased {what}, torch's own layers by the biased one: outputs differ by a factor "
        "of sqrt((n - 1) / n) for n values per statistic",
        (("use", "and its input is divided by it here", statistic.use),),
    )


def _eps(graph: FlowGraph, statistic: Statistic) -> Iterator[Trait]:
    """A channel whose values are all the same has variance zero."""
    steps = _steps(graph, statistic)
    if steps is None or graph[statistic.use].name == "batch_norm":
        return
    guards = [index for index, step in steps.items() if step in {"eps", "clamp"}]
    roots = [index for index, step in steps.items() if step == "root"]
    is_root, zero = statistic.name == "std", _ZERO.get(statistic.name, _CONSTANT)
    marks = (("statistic", "the statistic is computed here", statistic.reduction),)
    if not guards:
        if roots or is_root:
            yield Trait(TraitKind.EPS, statistic.name, statistic.use, _NO_EPS.format(zero), marks)
    elif is_root and not roots:
        yield Trait(TraitKind.EPS, statistic.name, guards[0], BOUNDED.reason, marks, BOUNDED)
    elif roots and roots[-1] < guards[0] and not is_root and not statistic.stops:
        yield Trait(TraitKind.EPS, statistic.name, guards[0], _OUTSIDE.format(zero), marks)


def _steps(graph: FlowGraph, statistic: Statistic) -> dict[int, str] | None:
    """Say what each node between a statistic and its use does to it, None where that is not known."""
    steps: dict[int, str] = {}
    for index in between(graph, statistic.reduction, statistic.use):
        step = _step(graph, graph[index])
        if step is None:
            return None
        steps[index] = step
    return steps


def _step(graph: FlowGraph, node: Node) -> str | None:
    args = train_args(node)
    if node.kind is Kind.STOP or (node.kind is Kind.MERGE and len(args) == 1):
        return "same"
    if node.kind is not Kind.OP:
        return None
    match node.name:
        case "sqrt" | "rsqrt":
            return "root"
        case "pow":
            power = exponent(graph, node)
            return "root" if power is not None and abs(power) == 0.5 else None if power is None else "same"
        case "add" if len(args) == 2:
            return "eps" if any(_is_number(graph, arg) for arg in args) else None
        case "clamp":
            return "clamp"
        case "mul" | "div" | "rdiv" if len(args) == 2:
            # A weight or a count as a factor does not keep it from zero.
            return "same" if any(_is_number(graph, arg) for arg in args) else None
        case "sub" if len(args) == 2:  # E[x²] - E[x]²
            square = graph[_plain(graph, args[1])]
            return "same" if square.kind is Kind.OP and squares(graph, square) else None
        case "reshape" | "square" | "reciprocal":
            return "same"
        case _:
            return None


def _is_number(graph: FlowGraph, index: int) -> bool:
    node = graph[index]
    while node.args and node.kind is Kind.OP and role(node.name) is Role.SHAPE:
        node = graph[node.args[0]]
    return node.kind in {Kind.CONSTANT, Kind.PARAMETER}


def _cancelling(graph: FlowGraph, site: Site, statistic: Statistic) -> Iterator[Trait]:
    """Both terms of E[x²] - E[x]² are near mean², so little of float32 is left of their difference."""
    if any(node.name in _COLLECTIVES or (node.kind is Kind.STOP and node.name == "collective") for node in graph):
        return  # one round of communication for both terms is a reason
    for index in between(graph, statistic.reduction, statistic.use):
        node = graph[index]
        if node.name != "sub" or len(node.args) != 2 or _average(graph, node.args[0]) != statistic.reduction:
            continue
        square = graph[_plain(graph, node.args[1])]
        mean = _average(graph, square.args[0]) if square.kind is Kind.OP and squares(graph, square) else None
        if mean is None or _plain(graph, graph[mean].args[0]) != site.input or _is_double(graph, graph[mean]):
            continue
        after = between(graph, index, statistic.use)
        clamped = any(graph[each].name in {"clamp", "abs", "where"} for each in after)
        more = "" if clamped else ", and the difference can be negative: then the root is NaN"
        text = "the variance is E[x²] - E[x]²: where the mean is large beside the deviation, float32 loses its digits"
        marks = (("use", "and its input is divided by it here", statistic.use),)
        yield Trait(TraitKind.CANCELLING, statistic.name, index, text + more, marks)


def _average(graph: FlowGraph, index: int) -> int | None:
    """Return the reduction of which a value is the mean: `x.mean()`, or `x.sum() / n`."""
    node = graph[_plain(graph, index)]
    if node.name == "div" and len(node.args) == 2 and _is_number(graph, node.args[1]):
        total = graph[_plain(graph, node.args[0])]
        return total.index if total.name == "sum" else None
    return node.index if node.name == "mean" else None


def _plain(graph: FlowGraph, index: int) -> int:
    """Return what a node is but for layout, type and stops."""
    node = graph[index]
    while node.args and (node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) is Role.SHAPE)):
        node = graph[node.args[0]]
    return node.index


def _is_double(graph: FlowGraph, node: Node) -> bool:
    """Whether a value is computed in float64: a cast on the way to it says so."""
    todo, seen = [node.index], {node.index}
    while todo:
        node = graph[todo.pop()]
        cast, text = node.attributes.get("cast"), str(node.attributes.get("over", ""))
        if cast in CASTS and (cast == "double" or "float64" in text or "double" in text.lower()):
            return True
        for arg in set(train_args(node)) - seen:
            seen.add(arg)
            todo.append(arg)
    return False
