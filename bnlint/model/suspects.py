"""Where a gradient may be lost that no visible stop explains: what a recorded step cannot be looked into, or writes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import fx

from bnlint.finding import SourceLocation
from bnlint.flow.graph import Kind
from bnlint.model.lower import Lowered, location_of
from bnlint.model.replay import set_attribute


@dataclass(frozen=True, slots=True)
class Suspect:
    """What may be to blame, in words, and where it stands."""

    what: str
    location: SourceLocation | None


def suspects(lowered: Lowered) -> list[Suspect]:
    """List what a wrong gradient may come from, the likeliest kind alone."""
    for kind in (_hooks, _opaque, _copies, _setters, _stops):
        found = list(kind(lowered))
        if found:
            return found
    return []


def _hooks(lowered: Lowered) -> Iterator[Suspect]:
    for node in _made_of_input(lowered):
        if node.target == "register_hook":
            yield Suspect("a hook on a gradient", location_of(node))


def _opaque(lowered: Lowered) -> Iterator[Suspect]:
    for node in _made_of_input(lowered):
        name = getattr(node.target, "__name__", str(node.target))
        match node.meta.get("opaque"):
            case None:
                pass
            case "autograd.Function":
                yield Suspect(f"the backward of {name}", location_of(node))
            case _:
                yield Suspect(f"inside of {name}", location_of(node))


def _copies(lowered: Lowered) -> Iterator[Suspect]:
    derived = _derived(lowered)
    for node in lowered.graph:
        unseen = not node.attributes.get("recorded", True) or node.attributes.get("around")
        if node.kind is Kind.STORE and unseen and derived & {*node.args}:
            yield Suspect(
                f"the copy into {node.name}, which autograd does not see", location_of(lowered.nodes[node.index])
            )


def _setters(lowered: Lowered) -> Iterator[Suspect]:
    for node in _made_of_input(lowered):
        if node.target is set_attribute and node.args[1] == "data":
            yield Suspect("`.data` that is set to another tensor", location_of(node))


def _stops(lowered: Lowered) -> Iterator[Suspect]:
    derived = _derived(lowered)
    for node in lowered.graph:
        if node.kind is Kind.STOP and derived & {*node.args}:
            yield Suspect(
                f"what is made of this value after its gradient stopped ({node.name})",
                location_of(lowered.nodes[node.index]),
            )


def _derived(lowered: Lowered) -> set[int]:
    """Return the nodes that are made of an input, stops or not."""
    found: set[int] = set()
    for node in lowered.graph:
        if node.kind is Kind.INPUT or not found.isdisjoint(node.args):
            found.add(node.index)
    return found


def _made_of_input(lowered: Lowered) -> Iterator[fx.Node]:
    derived = _derived(lowered)
    yield from dict.fromkeys(node for index, node in lowered.nodes.items() if index in derived)
