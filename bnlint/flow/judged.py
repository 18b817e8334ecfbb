"""Everything but stopped gradients that a flow graph shows to be worth a rule."""

from __future__ import annotations

from collections.abc import Sequence

from bnlint.flow import formula, running
from bnlint.flow.graph import FlowGraph
from bnlint.flow.sites import Site
from bnlint.flow.traits import Trait


def traits(graph: FlowGraph, sites: Sequence[Site]) -> list[Trait]:
    """List the traits of the normalizations of a graph."""
    return [*running.traits(graph, sites), *formula.traits(graph, sites)]
