import copy
import itertools

import pytest
import torch
from torch import nn

from bnlint.layers import FusedBatchNorm1d, FusedBatchNorm2d, FusedBatchNorm3d

CASES = {
    "1d flat": (FusedBatchNorm1d, nn.BatchNorm1d, (7, 3)),
    "1d": (FusedBatchNorm1d, nn.BatchNorm1d, (5, 3, 4)),
    "2d": (FusedBatchNorm2d, nn.BatchNorm2d, (4, 3, 5, 2)),
    "3d": (FusedBatchNorm3d, nn.BatchNorm3d, (2, 3, 3, 2, 2)),
}
FLAGS = ("unbiased", "batch_statistics_in_eval", "updates_running_statistics", "biased_running_variance")
CONVENTIONS = [dict(zip(FLAGS, values, strict=True)) for values in itertools.product([False, True], repeat=4)]


class ByHand:
    """The formula, with the conventions of a layer; keeps running statistics of its own."""

    def __init__(self, layer):
        self.layer = layer
        self.mean, self.var = (
            None if b is None else b.double().clone() for b in (layer.running_mean, layer.running_var)
        )
        self.batches = 0

    def __call__(self, x):
        layer = self.layer
        axes = [d for d in range(x.dim()) if d != 1]
        wide = (None, slice(None), *[None] * (x.dim() - 2))
        count = x.numel() // x.shape[1]
        mean, centered = x.mean(axes), x - x.mean(axes)[wide]
        squares = (centered**2).sum(axes)
        var = squares / (count - 1 if layer.unbiased else count)
        if layer.training and layer.updates_running_statistics and self.mean is not None:
            self.batches += 1
            share = 1 / self.batches if layer.momentum is None else layer.momentum
            collected = squares / (count if layer.biased_running_variance else count - 1)
            self.mean = (1 - share) * self.mean + share * mean.detach()
            self.var = (1 - share) * self.var + share * collected.detach()
        if not layer.training and not layer.batch_statistics_in_eval and self.mean is not None:
            mean, var = self.mean, self.var
        out = (x - mean[wide]) / torch.sqrt(var + layer.eps)[wide]
        return out if layer.weight is None else out * layer.weight[wide] + layer.bias[wide]


def layer_of(case, *, affine=True, dtype=torch.float64, **options):
    cls, _, shape = CASES[case]
    layer = cls(3, eps=0.1, affine=affine, **options)
    with torch.no_grad():
        if affine:
            layer.weight.copy_(torch.tensor([0.5, 1.5, -2.0]))
            layer.bias.copy_(torch.tensor([1.0, -1.0, 0.25]))
        if layer.running_mean is not None:
            layer.running_mean.copy_(torch.tensor([0.2, -0.1, 0.4]))
            layer.running_var.copy_(torch.tensor([0.5, 2.0, 1.25]))
    return layer.to(dtype), torch.randn(shape, dtype=dtype) * 2 + 1


def gradients(function, x, *parameters):
    leaf = x.clone().requires_grad_()
    out = function(leaf)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(out)
    return torch.autograd.grad(out, [leaf, *parameters], cotangent)


@pytest.mark.parametrize("conventions", CONVENTIONS, ids=lambda c: "-".join(k for k, v in c.items() if v) or "none")
@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_and_statistics_are_those_of_the_formula(case, conventions):
    layer, x = layer_of(case, momentum=0.3, **conventions)
    by_hand = ByHand(layer)

    for scale, training in ((1.0, True), (2.0, True), (1.0, False), (0.5, True), (3.0, False)):
        layer.train(training)
        batch = scale * x
        torch.testing.assert_close(
            gradients(layer, batch, layer.weight, layer.bias),
            gradients(by_hand, batch, layer.weight, layer.bias),
            rtol=1e-10,
            atol=1e-10,
        )
        torch.testing.assert_close(layer.running_mean, by_hand.mean, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer.running_var, by_hand.var, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(layer.eval()(batch), by_hand(batch), rtol=1e-10, atol=1e-10)
        layer.train(training)


@pytest.mark.parametrize("case", CASES)
def test_all_defaults_are_torchs_own_layer(case):
    layer, x = layer_of(case)
    native = CASES[case][1](3, eps=0.1).double()
    native.load_state_dict(layer.state_dict())

    for training in (True, True, False):
        layer.train(training), native.train(training)
        assert torch.equal(layer(x), native(x))
        assert all(torch.equal(a, b) for a, b in zip(layer.buffers(), native.buffers(), strict=True))


@pytest.mark.parametrize("biased", [False, True])
def test_without_a_momentum_all_batches_count_the_same(biased):
    layer, x = layer_of("2d", momentum=None, biased_running_variance=biased)
    layer.reset_running_stats()
    batches = [x, 2 * x + 1, x - 3]

    for batch in batches:
        layer(batch)

    axes = (0, 2, 3)
    torch.testing.assert_close(layer.running_mean, torch.stack([b.mean(axes) for b in batches]).mean(0))
    variances = [b.var(axes, unbiased=not biased) for b in batches]
    torch.testing.assert_close(layer.running_var, torch.stack(variances).mean(0))
    assert int(layer.num_batches_tracked) == 3


@pytest.mark.parametrize("conventions", CONVENTIONS[::5], ids=str)
@pytest.mark.parametrize("tracks", [True, False])
def test_without_weight_and_bias(conventions, tracks):
    layer, x = layer_of("2d", affine=False, track_running_stats=tracks, **conventions)
    by_hand = ByHand(layer)

    for training in (True, False):
        layer.train(training)
        torch.testing.assert_close(gradients(layer, x), gradients(by_hand, x), rtol=1e-10, atol=1e-10)
    assert list(layer.parameters()) == []


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 4e-3), (torch.bfloat16, 3e-2), (torch.float32, 1e-5)])
@pytest.mark.parametrize("unbiased", [True, False])
def test_low_precision(dtype, tolerance, unbiased):
    layer, x = layer_of("2d", dtype=dtype, unbiased=unbiased, biased_running_variance=True)
    exact = copy.deepcopy(layer).double()
    by_hand = ByHand(exact)

    out = layer(x)

    assert out.dtype is dtype and layer.running_var.dtype is dtype
    torch.testing.assert_close(out.double(), by_hand(x.double()), rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(layer.running_var.double(), by_hand.var, rtol=tolerance, atol=tolerance)
    assert layer.eval()(x).dtype is dtype


@pytest.mark.parametrize("affine", [True, False])
def test_an_input_narrower_than_the_layer(affine):
    layer, x = layer_of("2d", unbiased=True, affine=affine, dtype=torch.float32)
    out = layer(x.bfloat16())

    assert out.dtype is torch.bfloat16 and layer.running_var.dtype is torch.float32
    torch.testing.assert_close(out.float(), copy.deepcopy(layer)(x.float()), rtol=3e-2, atol=3e-2)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("unbiased", [True, False])
def test_gradcheck(case, unbiased):
    layer, x = layer_of(case, unbiased=unbiased, updates_running_statistics=False)
    weight, bias = layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()

    def run(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), weight, bias))


def test_the_state_dict_is_that_of_torch():
    ours, theirs = FusedBatchNorm2d(3, unbiased=True), nn.BatchNorm2d(3)

    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert [n for n, _ in ours.named_parameters()] == ["weight", "bias"]
    assert isinstance(ours, nn.BatchNorm2d)


@pytest.mark.parametrize(
    ("case", "shape"), [("1d", (4, 3, 5, 5)), ("2d", (4, 3)), ("2d", (4, 3, 5)), ("3d", (4, 3, 5, 5))]
)
def test_other_dimensions_are_refused_as_torch_does(case, shape):
    layer, _ = layer_of(case)

    with pytest.raises(ValueError, match="expected"):
        layer(torch.randn(shape, dtype=torch.float64))


def test_a_wrong_channel_count_is_refused():
    layer, _ = layer_of("2d")
    with pytest.raises(RuntimeError):
        layer(torch.randn(4, 5, 2, 2, dtype=torch.float64))


def test_one_value_per_channel_is_refused_as_torch_does():
    layer, _ = layer_of("2d", unbiased=True)
    with pytest.raises((ValueError, ZeroDivisionError), match="more than 1 value"):
        layer(torch.randn(1, 3, 1, 1, dtype=torch.float64))


def test_its_repr_says_which_conventions_differ():
    assert "unbiased" in repr(FusedBatchNorm2d(3, unbiased=True))
    assert "updates_running_statistics=False" in repr(FusedBatchNorm2d(3, updates_running_statistics=False))
    assert repr(FusedBatchNorm2d(3)).replace("Fused", "") == repr(nn.BatchNorm2d(3))


def test_copies_and_pickles_keep_the_conventions(tmp_path):
    layer, x = layer_of("2d", unbiased=True, batch_statistics_in_eval=True)
    torch.save(layer, tmp_path / "layer.pt")
    read = torch.load(tmp_path / "layer.pt", weights_only=False)

    for other in (copy.deepcopy(layer), read):
        assert torch.equal(other.eval()(x), layer.eval()(x))
        layer.train()
