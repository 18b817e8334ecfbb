from __future__ import annotations

import pytest
from graphs import Graph

from bnlint.flow.graph import Kind, Owner
from bnlint.flow.running import traits
from bnlint.flow.sites import find_sites
from bnlint.flow.traits import Kind as TraitKind


def batch_norm(buffer: str = "running_mean", **update: object) -> Graph:
    """A batch norm by hand that updates a buffer with its live mean in a certain way."""
    g = Graph()
    g.flow.owner = Owner(
        "Norm",
        "forward",
        frozenset({"Module"}),
        frozenset({"weight"}),
        frozenset({buffer}),
        frozenset({buffer}),
        frozenset(),
    )
    x, old = g.input(), g.buffer(buffer)
    mean = g.op("mean", x)
    mixed = g.op("add", old, mean)
    g.flow.add(Kind.STORE, buffer, [mixed], attributes=update)
    g.output(g.op("mul", g.op("sub", x, mean), g.parameter()))
    return g


@pytest.mark.parametrize(
    ("update", "keeps"),
    [
        ({"recorded": True}, True),
        ({"recorded": False}, False),
        ({"recorded": True, "around": True}, False),  # into `.data`: autograd sees nothing of it
        ({"recorded": True, "local": True}, False),  # into a variable
    ],
)
def test_what_is_written_where_autograd_sees_it_keeps_the_graph(update: dict[str, object], keeps: bool) -> None:
    g = batch_norm(**update)
    kinds = [trait.kind for trait in traits(g.flow, find_sites(g.flow))]
    assert (TraitKind.KEEPS_GRAPH in kinds) is keeps


def test_a_buffer_of_any_name_keeps_the_graph_where_its_statistic_normalizes() -> None:
    g = batch_norm("center", recorded=True)
    (trait,) = traits(g.flow, find_sites(g.flow))
    assert trait.subject == "center"
    assert trait.message.endswith("carries a gradient: it keeps the graph of every step")
