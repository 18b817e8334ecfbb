"""Parts of tensors that methods take, and parts of what was put together."""

from __future__ import annotations

import pytest
from snippets import filled, gradient_error, marked, module, reported

_OVER = "(0, 2, 3), keepdim=True"


def _norm(*lines: str) -> str:
    return module("def norm(x):\n" + "".join(f"    {line}\n" for line in lines))


def _apart(joined: str, divided: str) -> str:
    return _norm(
        "mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))",
        f"s = {joined}<STOP>",
        f"m, v = {divided}",
        "return (x - m.view(1, -1, 1, 1)) / (v.view(1, -1, 1, 1) + 1e-5).sqrt()",
    )


#: `<STOP>` stands for a stop, or for nothing
SHAPES = {
    "narrow": _norm(
        f"m = x.narrow(1, 0, 2).mean({_OVER})<STOP>",
        "return torch.cat([x.narrow(1, 0, 2) - m, x.narrow(1, 2, 1)], 1)",
    ),
    "select": _norm("m = x.select(1, 0).mean()<STOP>", "return torch.stack([x.select(1, 0) - m, x[:, 1], x[:, 2]], 1)"),
    "index_select": _norm(
        "i = torch.arange(2)",
        f"m = x.index_select(1, i).mean({_OVER})<STOP>",
        "return torch.cat([x.index_select(1, i) - m, x[:, 2:]], 1)",
    ),
    "a selected statistic": _norm("m = x.mean((2, 3)).select(1, 1)<STOP>", "return x - m.view(-1, 1, 1, 1)"),
    "einsum with dots": _norm("m = torch.einsum('bc...->c', x)<STOP> / 96", "return x - m.view(1, -1, 1, 1)"),
    "applied by einsum": _norm(
        "s = (x.std((0, 2, 3)) + 1e-5).reciprocal()<STOP>", "return torch.einsum('c,bchw->bchw', s, x)"
    ),
    "stack along another dimension": _apart("torch.stack([mean, var], 1)", "s.unbind(1)"),
    "selects of a stack": _apart("torch.stack([mean, var])", "(s.select(0, 0), s.select(0, 1))"),
    "cat, split by sizes": _apart("torch.cat([mean, var])", "s.split([3, 3])"),
    "cat, tensor_split": _apart("torch.cat([mean, var], dim=0)", "torch.tensor_split(s, 2)"),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_stop_is_reported(shape: str) -> None:
    source = filled(shape, ".detach()")

    assert gradient_error(source) > 1e-4
    assert marked(source) and reported(source) == marked(source)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_nothing_is_without_one(shape: str) -> None:
    source = filled(shape, "")

    assert gradient_error(source) < 1e-6
    assert reported(source) == []


@pytest.mark.parametrize(
    "line",
    [
        "return x.narrow(1, 0, 1) - x.narrow(1, 1, 1).mean().detach()",
        "return x.select(1, 0) - x.select(1, 1).mean().detach()",
        "return x - x.narrow(1, 0, 1).mean().detach()",
        "return x.index_select(0, torch.randperm(3)) - x.index_select(0, torch.randperm(3)).mean().detach()",
        "return x + torch.einsum('bchw->bhwc', x).detach().permute(0, 3, 1, 2)",
    ],
)
def test_another_part_is_another_tensor(line: str) -> None:
    assert reported(_norm(line)) == []


def test_parts_that_are_no_pieces_are_made_of_all() -> None:
    """`split` by a size may divide anywhere: that one statistic is stopped is not blamed on another."""
    source = _norm(
        "s = torch.cat([x.mean((0, 2, 3)), x.var((0, 2, 3)).detach()])",
        "m, v = s.split(3)",
        "return x - m.view(1, -1, 1, 1)",
    )

    assert reported(source) == []


def test_a_statistic_written_into_a_tensor_is_that_tensor() -> None:
    source = _norm(
        "m = torch.empty(1, 3, 1, 1, dtype=x.dtype)",
        f"torch.mean(x.detach(), {_OVER}, out=m)  # BN103",
        "return x - m",
    )

    assert gradient_error(source) > 1e-4
    assert reported(source) == marked(source)
