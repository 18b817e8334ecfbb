"""Edits of the updates of running statistics."""

from __future__ import annotations

from bnlint.finding import Fix
from bnlint.flow.graph import FlowGraph
from bnlint.flow.traits import Kind, Trait
from bnlint.source.state import detached
from bnlint.source.text import SourceText


def fix_of(text: SourceText, graph: FlowGraph, trait: Trait) -> Fix | None:
    """Return the edits that make a trait go away, None where bnlint cannot do it."""
    where = graph[trait.operand].origin.location if trait.operand is not None else None
    if where is None or trait.kind is not Kind.KEEPS_GRAPH:
        return None
    return Fix(f"detach what {trait.subject} is updated with", True, tuple(detached(text, where)))
