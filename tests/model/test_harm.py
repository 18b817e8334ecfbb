"""The harm of a stop in the recorded step, against what torch's own layers and plain autograd give."""

import warnings

import pytest
import torch
from torch import nn

from bnlint.errors import CaptureWarning
from bnlint.model.capture import cotangents
from bnlint.model.check import check_model
from bnlint.model.layers import find_layers


class HalfStopped(nn.BatchNorm2d):
    def forward(self, x):
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        var = x.var((0, 2, 3), keepdim=True, unbiased=False).detach()
        shaped = (1, -1, 1, 1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight.view(shaped) + self.bias.view(shaped)


class Inside(nn.Module):
    """A normalization that is no layer of its own."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 3)

    def forward(self, x):
        x = self.conv(x)
        return self.last(torch.relu((x - x.mean((0, 2, 3), keepdim=True).detach()) / x.std((0, 2, 3), keepdim=True)))


def net(norm):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), norm(8), nn.ReLU(), nn.Conv2d(8, 2, 3)).train()


def by_hand(model, right, x):
    """The gradient at the input of layer 1 that training sees, and the one that `right` gives in its place."""
    kept = {}
    kept["x"] = model[0](x).detach().requires_grad_()
    kept["y"] = model[1](kept["x"])
    kept["y"].retain_grad()
    outputs = model[3](model[2](kept["y"]))
    torch.autograd.backward([outputs], cotangents([outputs]))
    again = kept["x"].detach().requires_grad_()
    right(again).backward(kept["y"].grad)
    return kept["x"].grad, again.grad


def measured(model, x):
    (finding, *_) = check_model(model, x)
    return finding.measurement


def expected(seen, true):
    error = float((seen - true).norm() / true.norm())
    return pytest.approx((error, float(nn.functional.cosine_similarity(seen.flatten(), true.flatten(), 0))), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_harm_is_what_autograd_gives_in_the_recorded_step(dtype):
    model, x = net(HalfStopped).to(dtype), 3 * torch.randn(6, 3, 7, 7, dtype=dtype) + 1
    right = nn.BatchNorm2d(8, dtype=dtype)
    seen, true = by_hand(net(HalfStopped).to(dtype), right, x)

    harm = measured(model, x).harm

    assert (harm.error, harm.cosine) == expected(seen, true)
    assert 0.05 < harm.error < 0.5


def test_a_normalization_in_no_layer_of_its_own_has_its_harm_too():
    torch.manual_seed(1)
    model, x = Inside().train(), torch.randn(6, 3, 7, 7)
    inner = model.conv(x).detach().requires_grad_()
    stopped = (inner - inner.mean((0, 2, 3), keepdim=True).detach()) / inner.std((0, 2, 3), keepdim=True)
    stopped.retain_grad()
    outputs = model.last(torch.relu(stopped))
    torch.autograd.backward([outputs], cotangents([outputs]))
    again = inner.detach().requires_grad_()
    live = (again - again.mean((0, 2, 3), keepdim=True)) / again.std((0, 2, 3), keepdim=True)
    live.backward(stopped.grad)

    harm = measured(model, x).harm

    assert (harm.error, harm.cosine) == expected(inner.grad, again.grad)


def test_a_layer_that_is_called_twice_is_told_by_the_gradients_of_both_calls():
    torch.manual_seed(2)
    norm, conv, right = HalfStopped(3), nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)
    x = torch.randn(4, 3, 6, 6)
    first = x.clone().requires_grad_()
    middle = norm(first)
    middle.retain_grad()
    second = conv(middle)
    second.retain_grad()
    outputs = norm(second)
    (arriving,) = cotangents([outputs])
    outputs.backward(arriving)
    seen, true = [first.grad, second.grad], []
    for at, gradient in ((first, middle.grad), (second, arriving)):
        again = at.detach().requires_grad_()
        right(again).backward(gradient)
        true.append(again.grad)

    harm = measured(nn.Sequential(norm, conv, norm), x).harm

    assert (harm.error, harm.cosine) == expected(*(torch.cat([g.flatten() for g in each]) for each in (seen, true)))


def test_half_precision_stays_half_precision():
    model, x = net(HalfStopped).to(torch.bfloat16), torch.randn(6, 3, 7, 7, dtype=torch.bfloat16)
    harm = measured(model, x).harm
    assert 0.02 < harm.error < 0.5 and 0.8 < harm.cosine < 1


def test_a_stop_that_no_graph_can_do_without_has_no_harm_told():
    class Numbers(HalfStopped):
        def forward(self, x):
            mean = torch.tensor([float(channel.mean()) for channel in x.unbind(1)]).view(1, -1, 1, 1)
            return (x - mean) / (x.var((0, 2, 3), keepdim=True) + self.eps).sqrt()

    found = measured(net(Numbers), torch.randn(6, 3, 7, 7))
    assert found.harm is None and found.error > 0.01


def test_what_is_measured_alone_has_no_harm():
    class Named(HalfStopped):
        def forward(self, x, needed):
            return super().forward(x)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaptureWarning)
        assert all(layer.harm is None for layer in find_layers(net(Named)))


def test_right_models_pay_nothing(monkeypatch):
    monkeypatch.setattr("bnlint.model.harm._Unstopped", None)
    assert check_model(net(nn.BatchNorm2d), torch.randn(6, 3, 7, 7)) == []


def test_the_model_is_left_as_found():
    model = net(HalfStopped)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    check_model(model, torch.randn(6, 3, 7, 7, generator=torch.Generator()))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
