"""Edits of the updates of running statistics."""

from __future__ import annotations

import libcst as cst

from bnlint.finding import Edit, Fix, SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.flow.traits import Kind, Trait
from bnlint.source.text import SourceText
from bnlint.source.unstop import ATOMS


def fix_of(text: SourceText, graph: FlowGraph, trait: Trait) -> Fix | None:
    """Return the edits that make a trait go away, None where bnlint cannot do it."""
    where = graph[trait.operand].origin.location if trait.operand is not None else None
    if where is None or trait.kind is not Kind.KEEPS_GRAPH:
        return None
    return Fix(f"detach what {trait.subject} is updated with", True, tuple(detached(text, where)))


def detached(text: SourceText, location: SourceLocation) -> list[Edit]:
    """Return the edits that append `.detach()` to an expression."""
    end = SourceLocation(location.path, location.end_line, location.end_column, location.end_line, location.end_column)
    if isinstance(cst.parse_expression(f"({text.at(location)})"), ATOMS):
        return [Edit(end, ".detach()")]
    start = SourceLocation(location.path, location.line, location.column, location.line, location.column)
    return [Edit(start, "("), Edit(end, ").detach()")]
