"""Pages of rules about the formula (BN3xx) and about conversion (BN401): torch's own layers are the truth."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from types import ModuleType

import pytest
import torch
from blocks import CHANNELS, Example, batch, distance, example, examples, input_gradient, layer_of
from torch import Tensor, nn

from bnlint.source.check import check_source
from bnlint.source.text import SourceText, apply

FIXABLE = [example(code, "Bad", number) for code, number in (("BN301", 0), ("BN301", 1), ("BN302", 1))]


def native(layer: nn.Module, x: Tensor) -> Tensor:
    """What `nn.BatchNorm2d` gives with the weight and bias of a layer."""
    weight, bias = (value.flatten() for value in (layer.weight, layer.bias))
    return nn.functional.batch_norm(x, None, None, weight, bias, training=True)


@pytest.mark.parametrize("bad", FIXABLE, ids=str)
def test_the_unsafe_fix_makes_the_fixed_block(bad: Example) -> None:
    findings = check_source(bad.code.encode(), "page.py")
    fixes = [finding.fix for finding in findings if finding.fix is not None]

    assert len(fixes) == len(findings) == 1
    assert not fixes[0].safe
    assert apply(SourceText.decode(bad.code.encode()), fixes[0].edits) == bad.fixed


# -- BN301


@pytest.mark.parametrize("number", [0, 1])
def test_unbiased_outputs_are_those_of_torch_times_the_factor_of_the_page(number: int, tmp_path: Path) -> None:
    bad, fixed = (layer_of(example("BN301", kind, number).code, tmp_path).double() for kind in ("Bad", "Fixed"))
    x = batch()
    n = x.numel() // CHANNELS

    bias = bad.bias.view(1, -1, 1, 1)
    factor = ((n - 1) / n) ** 0.5
    assert factor == pytest.approx(1 - 1 / (2 * n), abs=1e-3)
    torch.testing.assert_close(bad(x) - bias, (native(bad, x) - bias) * factor, rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(fixed(x), native(fixed, x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("right", list(examples("Good", family="BN301")), ids=str)
def test_a_good_block_is_the_layer_of_torch(right: Example, tmp_path: Path) -> None:
    layer, x = layer_of(right.code, tmp_path).double(), batch()
    truth = nn.BatchNorm2d(CHANNELS).double()
    truth.load_state_dict({**truth.state_dict(), "weight": layer.weight, "bias": layer.bias})

    torch.testing.assert_close(layer(x), truth(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_var, truth.running_var, rtol=1e-12, atol=1e-12)


# -- BN302


def dead_channel(layer: nn.Module, dim: int) -> tuple[Tensor, Tensor]:
    """The output and the gradient of an input that is zero in one channel (dim 1) or one sample (dim 0)."""
    x = batch().float()
    x.select(dim, 0).zero_()
    return layer(x).detach(), input_gradient(layer, x)


@pytest.mark.parametrize(("number", "dim"), [(0, 1), (1, 0)])
def test_a_channel_of_one_value_gives_nan_and_not_after_the_fix(number: int, dim: int, tmp_path: Path) -> None:
    bad, fixed = (layer_of(example("BN302", kind, number).code, tmp_path) for kind in ("Bad", "Fixed"))

    output, gradient = dead_channel(bad, dim)
    assert output.isnan().any() == (number == 0)
    assert gradient.isnan().any()
    output, gradient = dead_channel(fixed, dim)
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("right", list(examples("Good", "When it is right", family="BN302")), ids=str)
def test_right_bounds_give_numbers(right: Example, tmp_path: Path) -> None:
    layer = layer_of(right.code, tmp_path)
    x = batch().float()
    x[0] = 0
    x[:, 0] = 0

    assert layer(x).isfinite().all()
    assert input_gradient(layer, x).isfinite().all()


def test_a_deviation_plus_eps_multiplies_by_its_inverse(tmp_path: Path) -> None:
    code = example("BN302", "Bad", 1).code
    old = ".pow(2).mean((1, 2, 3), keepdim=True)"
    assert code.count(old) == 1
    code = code.replace("(x - mean)" + old, "x.std((1, 2, 3), unbiased=False, keepdim=True)")
    code = code.replace("torch.sqrt(var)", "var")
    (finding,) = check_source(code.encode(), "page.py")
    assert (finding.code, finding.severity) == ("BN302", "note")

    eps = 1e-5
    _, outside = dead_channel(layer_of(code, tmp_path), 0)
    _, under = dead_channel(layer_of(example("BN302", "Fixed", 1).code, tmp_path), 0)
    assert outside[0].abs().max() / under[0].abs().max() == pytest.approx(eps**-0.5, rel=1e-3)


# -- BN303


@pytest.mark.parametrize("number", [0, 1, 2])
def test_wrong_dimensions_are_not_what_torch_computes(number: int, tmp_path: Path) -> None:
    bad, fixed = (layer_of(example("BN303", kind, number).code, tmp_path).double() for kind in ("Bad", "Fixed"))
    # Samples and channels differ, as they do in real activations.
    x = batch() * torch.linspace(0.5, 2, CHANNELS).view(1, -1, 1, 1) + torch.arange(4.0).view(-1, 1, 1, 1)

    assert distance(fixed(x), native(fixed, x)) < 1e-12
    assert distance(bad(x), native(bad, x)) > 0.1


def test_a_batch_norm_over_positions_is_an_instance_norm(tmp_path: Path) -> None:
    layer, x = layer_of(example("BN303", "Bad", 0).code, tmp_path).double(), batch()

    truth = nn.functional.instance_norm(x, weight=layer.weight, bias=layer.bias)
    torch.testing.assert_close(layer(x), truth, rtol=1e-12, atol=1e-12)


# -- BN304


@pytest.mark.parametrize("number", [0, 1])
def test_a_large_mean_leaves_nothing_of_the_variance(number: int, tmp_path: Path) -> None:
    bad, fixed = (layer_of(example("BN304", kind, number).code, tmp_path) for kind in ("Bad", "Fixed"))
    x = (batch() + 1e4).float()
    truth = native(fixed.double(), x.double())

    assert distance(fixed.float()(x).double(), truth) < 1e-3
    output = bad(x).double()
    assert output.isnan().any() or distance(output, truth) > 0.5


def test_the_difference_can_be_negative_and_its_root_nan(tmp_path: Path) -> None:
    bad = layer_of(example("BN304", "Bad", 0).code, tmp_path)
    outputs = [bad((batch(2, CHANNELS, 2, 2) + 1e4 * scale).float()) for scale in range(1, 20)]

    assert any(output.isnan().any() for output in outputs)


def test_double_precision_keeps_the_digits(tmp_path: Path) -> None:
    right = layer_of(example("BN304", "When it is right", 0).code, tmp_path)
    x = (batch() + 1e4).float()

    assert distance(right(x).double(), native(right.double(), x.double())) < 1e-3


# -- BN401


def converter(code: str) -> ModuleType:
    """The functions and classes of a block."""
    module = ModuleType("block")
    exec(compile(code, "block.py", "exec"), module.__dict__)
    return module


def trained() -> nn.Sequential:
    """A small model that a few steps have changed, with an eps of its own, in evaluation."""
    torch.manual_seed(7)
    norm = nn.BatchNorm2d(CHANNELS, eps=0.1, momentum=0.3)
    model = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.Sequential(norm, nn.ReLU()))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(batch().float()) - 1).square().mean().backward()
        optimizer.step()
    return model.eval()


@pytest.mark.parametrize("number", [0, 1])
def test_a_lossy_conversion_changes_the_model(number: int) -> None:
    model, x = trained(), batch().float()
    bad, fixed = (converter(example("BN401", kind, number).code) for kind in ("Bad", "Fixed"))

    after = bad.convert(copy.deepcopy(model))
    assert isinstance(after[1][0], bad.ClippedBatchNorm)
    assert distance(after.eval()(x), model(x)) > 1e-3
    torch.testing.assert_close(fixed.convert(copy.deepcopy(model))(x), model(x))


def test_what_is_loaded_before_the_conversion_is_lost_and_after_it_is_not() -> None:
    model, x = trained(), batch().float()
    # An eps of its own is lost either way: the last pair of blocks is about what is learned.
    model[1][0].eps = 1e-5
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    results = []
    for kind in ("Bad", "Fixed"):
        file.seek(0)
        fresh = trained()
        for parameter in fresh.parameters():
            nn.init.zeros_(parameter)
        results.append(converter(example("BN401", kind, 2).code).load(fresh, file).eval()(x))

    assert distance(results[0], model(x)) > 0.1
    torch.testing.assert_close(results[1], model(x))


@pytest.mark.parametrize("right", list(examples("Good", family="BN401")), ids=str)
def test_a_right_conversion_keeps_everything(right: Example) -> None:
    model, x = trained(), batch().float()
    before, after = model[1][0], converter(right.code).convert(copy.deepcopy(model))

    new = after[1][0]
    assert (new.eps, new.momentum, new.training) == (before.eps, before.momentum, before.training)
    torch.testing.assert_close(new.state_dict(), before.state_dict())
    torch.testing.assert_close(after(x), model(x))
