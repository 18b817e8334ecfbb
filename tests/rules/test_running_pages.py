"""Pages of rules about running statistics (BN2xx): what the buffers hold after some steps, before and after a fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from blocks import Example, batch, example, examples, has_a_safe_fix, layer_of
from torch import Tensor, nn

BAD = list(examples("Bad", family="BN2"))
SAFE = [bad for bad in BAD if has_a_safe_fix(bad)]
STEPS = 3


def outputs(layer: nn.Module) -> list[Tensor]:
    """What a layer gives in some steps of training, and then in evaluation."""
    layer.double().train()
    found = [layer(batch() * scale).detach() for scale in range(1, STEPS + 1)]
    return [*found, layer.eval()(batch()).detach()]


def kept(layer: nn.Module) -> dict[str, Tensor]:
    """The buffers and the plain tensors of a layer."""
    plain = {name: value for name, value in vars(layer).items() if isinstance(value, Tensor)}
    return dict(layer.named_buffers()) | plain


def train(layer: nn.Module) -> None:
    for _ in range(STEPS):
        layer(batch().float().requires_grad_()).square().mean().backward()


@pytest.mark.parametrize("bad", SAFE, ids=str)
def test_a_safe_fix_changes_no_value(bad: Example, tmp_path: Path) -> None:
    before, after = (layer_of(code, tmp_path) for code in (bad.code, bad.fixed))

    torch.testing.assert_close(outputs(after), outputs(before), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept(after), kept(before), rtol=1e-12, atol=1e-12)


# -- BN201


@pytest.mark.parametrize("bad", [bad for bad in BAD if bad.page.code == "BN201"], ids=str)
def test_a_buffer_with_a_graph_has_none_after_the_fix(bad: Example, tmp_path: Path) -> None:
    before, after = (layer_of(code, tmp_path) for code in (bad.code, bad.fixed))

    before(batch().float().requires_grad_())
    assert any(value.grad_fn for value in kept(before).values())
    train(after)
    assert not any(value.requires_grad for value in kept(after).values())


def test_a_buffer_that_training_reads_fails_in_the_second_step(tmp_path: Path) -> None:
    bad = example("BN201", "Bad", 1)

    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        train(layer_of(bad.code, tmp_path))
    train(layer_of(example("BN201", "Fixed", 1).code, tmp_path))


def test_the_graph_of_a_buffer_grows_with_every_step(tmp_path: Path) -> None:
    def depth(tensor: Tensor) -> int:
        todo, seen = [tensor.grad_fn], set()
        while todo:
            function = todo.pop()
            if function is not None and function not in seen:
                seen.add(function)
                todo += [following for following, _ in function.next_functions]
        return len(seen)

    layer = layer_of(example("BN201", "Bad", 0).code, tmp_path)
    depths = []
    for _ in range(STEPS):
        layer(batch().float().requires_grad_()).square().mean().backward()
        depths.append(depth(layer.running_mean))
    assert depths == sorted(set(depths))
    assert len(depths) == STEPS
