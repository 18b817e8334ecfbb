"""Pages of rules about running statistics (BN2xx, BN106): layers are run beside torch's own, before and after a fix."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from blocks import (
    CHANNELS,
    WITH_AND_WITHOUT_INPUT,
    Example,
    batch,
    distance,
    example,
    examples,
    has_a_safe_fix,
    input_gradient,
    layer_of,
    marked,
)
from torch import Tensor, nn

from bnlint.finding import Severity
from bnlint.model.check import check_model

BAD = [*examples("Bad", family="BN2"), *examples("Bad", family="BN106")]
SAFE = [bad for bad in BAD if has_a_safe_fix(bad)]
LIVE = [bad for bad in BAD if "runtime" in bad.page.engines]
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


def native(layer: nn.Module) -> nn.BatchNorm2d:
    """torch's layer with the parameters of another."""
    twin = nn.BatchNorm2d(CHANNELS)
    twin.load_state_dict(dict(layer.named_parameters()), strict=False)
    return twin


def agrees_with_torch(layer: nn.Module) -> bool:
    """Whether a layer trains and evaluates as torch's does."""
    twin = native(layer)
    return all(torch.allclose(a, b, atol=1e-6) for a, b in zip(outputs(layer), outputs(twin), strict=True))


def train(layer: nn.Module) -> None:
    for _ in range(STEPS):
        layer(batch().float().requires_grad_()).square().mean().backward()


@pytest.mark.parametrize("bad", SAFE, ids=str)
def test_a_safe_fix_changes_no_value(bad: Example, tmp_path: Path) -> None:
    before, after = (layer_of(code, tmp_path) for code in (bad.code, bad.fixed))

    torch.testing.assert_close(outputs(after), outputs(before), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(kept(after), kept(before), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", LIVE, ids=str)
@WITH_AND_WITHOUT_INPUT
def test_runtime_check_reports_the_same(bad: Example, inputs: tuple[Tensor, ...], tmp_path: Path) -> None:
    found = check_model(layer_of(bad.code, tmp_path), *inputs)
    findings = [finding for finding in found if finding.severity is not Severity.NOTE]  # what is meant is a note

    assert {finding.code for finding in findings} == {bad.page.code}
    assert marked(findings) == bad.marks


@pytest.mark.parametrize("bad", [bad for bad in BAD if "Renorm" not in bad.code], ids=str)
def test_fixed_blocks_are_what_torch_does(bad: Example, tmp_path: Path) -> None:
    assert agrees_with_torch(layer_of(bad.fixed, tmp_path))
    # The graph of a buffer has no value, and where it is kept changes none.
    assert agrees_with_torch(layer_of(bad.code, tmp_path)) == (bad.page.code in {"BN201", "BN202"})


# -- BN106


def test_statistics_updated_before_use_are_a_stop_and_those_updated_later_are_not(tmp_path: Path) -> None:
    def right(code: str) -> bool:
        x = batch(3, CHANNELS, 2, 2).requires_grad_()
        return torch.autograd.gradcheck(layer_of(code, tmp_path).double(), x, raise_exception=False, fast_mode=False)

    before, after = example("BN106", "Bad", 0), example("BN106", "Bad", 1)
    assert [right(code) for code in (before.code, before.fixed, after.fixed)] == [False, True, True]
    layer = layer_of(after.code, tmp_path).double()
    x = batch()
    gradient = input_gradient(layer, x)  # that of a scale: nothing flows through statistics
    assert distance(gradient / gradient.norm(), input_gradient(native(layer).double(), x)) > 1e-2
    assert layer(x).mean((0, 2, 3)).abs().max() > 0.1


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
    def size(tensor: Tensor) -> int:
        todo, seen = [tensor.grad_fn], set()
        while todo:
            function = todo.pop()
            if function is not None and function not in seen:
                seen.add(function)
                todo += [following for following, _ in function.next_functions]
        return len(seen)

    layer = layer_of(example("BN201", "Bad", 0).code, tmp_path)
    sizes = []
    for _ in range(STEPS):
        layer(batch().float().requires_grad_()).square().mean().backward()
        sizes.append(size(layer.running_mean))
    assert sizes == sorted(set(sizes))
    assert len(sizes) == STEPS


# -- BN202 to BN206


def test_a_plain_attribute_is_neither_saved_nor_moved(tmp_path: Path) -> None:
    bad = example("BN202", "Bad", 0)
    before, after = (
        layer_of(bad.code, tmp_path).double(),
        layer_of(example("BN202", "Fixed", 0).code, tmp_path).double(),
    )

    assert "running_mean" not in before.state_dict() and before.running_mean.dtype == torch.float32
    assert "running_mean" in after.state_dict() and after.running_mean.dtype == torch.float64


def test_statistics_that_are_never_updated_stay_as_they_were(tmp_path: Path) -> None:
    layer = layer_of(example("BN203", "Bad", 0).code, tmp_path)
    train(layer)
    assert torch.equal(layer.running_mean, torch.zeros(CHANNELS))
    assert torch.equal(layer.running_var, torch.ones(CHANNELS))


@pytest.mark.parametrize(("section", "alike"), [("Bad", False), ("Fixed", True)])
def test_an_output_in_evaluation_depends_on_the_batch_or_not(section: str, alike: bool, tmp_path: Path) -> None:
    layer = layer_of(example("BN204", section, 0).code, tmp_path).double()
    layer(batch())
    layer.eval()
    assert torch.allclose(layer(batch())[:2], layer(batch()[:2])) == alike


@pytest.mark.parametrize(("code", "name"), [("BN205", "running_var"), ("BN206", "running_mean")])
def test_running_statistics_are_those_of_torch_after_the_change_alone(code: str, name: str, tmp_path: Path) -> None:
    before, after = (layer_of(example(code, section, 0).code, tmp_path) for section in ("Bad", "Fixed"))
    twin = native(after)
    for layer in (before, after, twin):
        train(layer)

    torch.testing.assert_close(getattr(after, name), getattr(twin, name))
    assert distance(getattr(before, name), getattr(twin, name)) > 1e-3
