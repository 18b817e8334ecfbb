"""The arguments of reductions: what the text says is what the recorded call says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bnlint.flow.graph import FlowGraph
from bnlint.flow.ops import Role, role
from bnlint.model.capture import capture
from bnlint.model.lower import lower as lower_recorded
from bnlint.source.lower import lower
from bnlint.source.parsed import parse

CALLS = [
    "x.mean()",
    "x.mean(1)",
    "x.mean((0, 2), True)",
    "x.mean(dim=[0, -1], keepdim=True)",
    "torch.mean(x, (0, 2))",
    "torch.mean(input=x, dim=(0, 2))",
    "x.sum(axis=-1)",
    "x.var()",
    "x.var(False)",
    "x.var(0)",
    "x.var((0, 2), False)",
    "x.var((0, 2), False, True)",
    "x.var((0, 2), True, True)",
    "x.var(dim=(0, 2), unbiased=False)",
    "x.var((0, 2), correction=0, keepdim=True)",
    "x.std((0, 2), unbiased=True)",
    "torch.std(x, 1, correction=1)",
    "torch.var_mean(x, (0, 2), keepdim=True)[0]",
    "torch.var_mean(x, dim=(0, 2), unbiased=False)[1]",
    "x.norm(2, 1, True)",
    "x.norm(dim=1)",
    "torch.linalg.vector_norm(x, 2, (0, 1), True)",
]


def reduction(graph: FlowGraph, rank: int) -> dict[str, object]:
    """What a graph says of its reductions; of a pair both say the same, but for the correction of the mean."""
    found = [node for node in graph if role(node.name) is Role.REDUCTION]
    attributes = found[0].attributes
    dims = attributes["dims"]
    positive = tuple(sorted(dim % rank for dim in dims)) if isinstance(dims, tuple) else dims
    corrected = {"correction": attributes["correction"]} if found[0].name in {"var", "std"} else {}
    return {"name": found[0].name, "dims": positive, "keepdim": attributes["keepdim"]} | corrected


@pytest.mark.parametrize("call", CALLS)
def test_both_engines_read_the_same(call: str) -> None:
    source = f"import torch\n\n\ndef f(x):\n    return {call}\n"
    names: dict[str, object] = {}
    exec(source, names)
    x = torch.randn(2, 3, 4)

    class Layer(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return names["f"](x)  # type: ignore[operator, no-any-return]

    (static,) = (function.graph for function in lower(parse(source, "a.py").tree))
    assert static is not None
    recorded = lower_recorded(capture(Layer(), (x,)).graph_module).graph
    assert reduction(static, 3) == reduction(recorded, 3)


@pytest.mark.parametrize(
    ("call", "unknown"),
    [
        ("x.var(dim)", "dims"),
        ("x.mean([0, *dim])", "dims"),
        ("x.var(0, unbiased)", "correction"),
        ("x.var(0, unbiased=unbiased)", "correction"),
        ("x.mean(0, keepdim=keep)", "keepdim"),
        ("x.mean(0, keep)", "keepdim"),
    ],
)
def test_what_is_not_spelled_out_is_not_said(call: str, unknown: str) -> None:
    (graph,) = (
        function.graph for function in lower(parse(f"def f(x, dim, unbiased, keep):\n    return {call}\n", "a.py").tree)
    )
    assert graph is not None
    (node,) = (node for node in graph if role(node.name) is Role.REDUCTION)
    assert {"dims", "keepdim", "correction"} - {unknown} - set(node.attributes) <= {"correction"}
    assert unknown not in node.attributes
