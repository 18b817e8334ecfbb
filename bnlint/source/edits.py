"""Edits that let the gradient of a statistic flow again, and keep running statistics out of the graph."""

from __future__ import annotations

from bnlint.catalog import PLAIN
from bnlint.finding import Edit, Fix, SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.sites import Statistic
from bnlint.source.blocks import Region, unwrapped
from bnlint.source.differentiable import differentiable
from bnlint.source.inplace import Way, way
from bnlint.source.numbers import Numbers, leaves_torch, makes_number, untyped
from bnlint.source.parsed import Parsed
from bnlint.source.state import State
from bnlint.source.text import SourceText
from bnlint.source.unstop import stopped_at, without_call, without_function, without_suffix
from bnlint.vocabulary import Word


def fix_for(text: SourceText, parsed: Parsed, graph: FlowGraph, statistic: Statistic) -> Fix | None:
    """Return the edits that remove the stops of a statistic, None where bnlint cannot do it.

    A stop that also kept a running statistic out of the graph moves to that statistic's update. Regions without
    gradients go first; what else stops inside them is another finding then, with a fix of its own.
    So is a collective behind another stop: its fix is not safe, for the backward pass then waits for other processes.
    """
    exchanged = graph[statistic.stops[0]].name == "collective"
    stops = [index for index in statistic.stops if graph[index].name in _REGIONS]
    stops = stops or [index for index in statistic.stops if exchanged or graph[index].name != "collective"]
    edits: list[Edit] = []
    for index in stops:
        made = _without(text, parsed, graph, statistic, index)
        if made is None:
            return None
        edits += made
    state = State(text, parsed, graph, stops, statistic.use)
    edits += state.edits()
    places = [graph[index].origin.location for index in stops]
    if exchanged and any(place is not None and state.protected(place) for place in places):
        return None
    kinds = " and ".join(dict.fromkeys(_spelled(graph[index]) for index in stops))
    name = PLAIN.get(statistic.name, statistic.name)
    message = f"exchange the {name} by a differentiable collective" if exchanged else f"remove {kinds} from the {name}"
    return Fix(message, not exchanged, tuple(sorted(set(edits))))


_REGIONS = frozenset({"no_grad", "inference_mode"})
_SPELLED = {
    "detach": "`.detach()`",
    "data": "`.data`",
    "no_grad": "`torch.no_grad()`",
    "inference_mode": "`torch.inference_mode()`",
    "item": "`.item()`",
    "float": "`float()`",
    "tolist": "`.tolist()`",
    "numpy": "NumPy",
    "tensor": "the copy into a new tensor",
}


def _spelled(stop: Node) -> str:
    word = stop.attributes.get("word")
    return word.shown if isinstance(word, Word) else _SPELLED.get(stop.name, stop.name)


def _without(text: SourceText, parsed: Parsed, graph: FlowGraph, statistic: Statistic, index: int) -> list[Edit] | None:
    stop, how = graph[index], way(text, parsed, graph, statistic, index)
    location, region = stop.origin.location, stop.origin.region
    if stop.name == "collective":  # what it gives back is a new tensor
        return None if location is None else differentiable(text, parsed, location)
    if how is Way.NONE:
        return None
    match stop.name:
        case "no_grad" | "inference_mode" if region is not None:
            return unwrapped(text, parsed, _region(graph, region))
        case _ if location is None:
            return None
        case "detach" | "data" if leaves_torch(parsed, graph, index, statistic.use):
            return None
        case _ if makes_number(stop):
            expression = stopped_at(parsed, location)
            turned = Numbers(text, parsed, graph, statistic.stops)
            elsewhere = None if expression is None else turned.turned(expression, stop, statistic.use)
            own = _without_call(text, parsed, graph, stop, location)
            return None if elsewhere is None or own is None else [*own, *elsewhere]
        case _ if how is Way.COPY:
            return without_suffix(text, parsed, location, ".clone()")
        case _:
            return _without_call(text, parsed, graph, stop, location)


def _region(graph: FlowGraph, where: SourceLocation) -> Region:
    stores = [node.origin.location for node in graph if node.kind is Kind.STORE]
    stopped = [node.origin.location for node in graph if node.kind is Kind.STOP and node.origin.region == where]
    return Region(where, *(frozenset(place for place in places if place is not None) for places in (stores, stopped)))


def _without_call(
    text: SourceText, parsed: Parsed, graph: FlowGraph, stop: Node, location: SourceLocation
) -> list[Edit] | None:
    if stop.origin.region is None:
        return without_suffix(text, parsed, location)
    if "word" in stop.attributes:
        return without_call(text, parsed, location)
    return without_function(text, parsed, location, number=untyped(parsed, graph, stop.args[0]))
