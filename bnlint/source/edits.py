"""Edits that let the gradient of a statistic flow again, and keep running statistics out of the graph."""

from __future__ import annotations

import libcst as cst

from bnlint.catalog import PLAIN
from bnlint.finding import Edit, Fix, SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Node
from bnlint.flow.sites import Statistic
from bnlint.source.blocks import unwrapped
from bnlint.source.lower import Parsed
from bnlint.source.text import SourceText
from bnlint.source.unstop import ATOMS, without_function, without_suffix


def fix_for(text: SourceText, parsed: Parsed, graph: FlowGraph, statistic: Statistic) -> Fix | None:
    """Return the edits that remove every stop of a statistic, None where bnlint cannot do it.

    A stop that also kept a running statistic out of the graph moves to that statistic's update.
    """
    edits: list[Edit] = []
    for index in statistic.stops:
        stop = graph[index]
        made = _without(text, parsed, graph, stop)
        if made is None:
            return None
        edits += made
        for store in _fed_stores(graph, index):
            if store.origin.location is None:
                return None
            edits += _detached(text, store.origin.location)
    kinds = " and ".join(dict.fromkeys(_SPELLED.get(graph[i].name, graph[i].name) for i in statistic.stops))
    return Fix(f"remove {kinds} from the {PLAIN.get(statistic.name, statistic.name)}", True, tuple(sorted(set(edits))))


_SPELLED = {
    "detach": "`.detach()`",
    "data": "`.data`",
    "no_grad": "`torch.no_grad()`",
    "inference_mode": "`torch.inference_mode()`",
}


def _without(text: SourceText, parsed: Parsed, graph: FlowGraph, stop: Node) -> list[Edit] | None:
    location, region = stop.origin.location, stop.origin.region
    match stop.name:
        case "detach" | "data" if location is not None and region is None:
            return without_suffix(text, parsed, location)
        case "detach" if location is not None:
            return without_function(text, parsed, location)
        case "no_grad" | "inference_mode" if region is not None:
            updates = {
                node.origin.location for node in graph if node.kind is Kind.STORE and node.origin.location is not None
            }
            return unwrapped(text, parsed, region, updates)
        case _:
            return None


def _fed_stores(graph: FlowGraph, stop: int) -> list[Node]:
    """Return the recorded buffer updates that the stop keeps out of the graph, and nothing else does."""
    fed = {node.index for node in graph if node.kind is Kind.STOP and node.origin == graph[stop].origin}
    stores: list[Node] = []
    for node in graph:
        if not fed.intersection(node.args):
            continue
        if node.kind in {Kind.OP, Kind.MERGE}:
            fed.add(node.index)
        elif node.kind is Kind.STORE and node.attributes.get("recorded"):
            stores.append(node)
    return stores


def _detached(text: SourceText, location: SourceLocation) -> list[Edit]:
    end = SourceLocation(location.path, location.end_line, location.end_column, location.end_line, location.end_column)
    if isinstance(cst.parse_expression(f"({text.at(location)})"), ATOMS):
        return [Edit(end, ".detach()")]
    start = SourceLocation(location.path, location.line, location.column, location.line, location.column)
    return [Edit(start, "("), Edit(end, ").detach()")]
