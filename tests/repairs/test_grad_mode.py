"""Layers that take `no_grad` for evaluation, as the batch norm of Dive into Deep Learning does."""

import copy

import pytest
import torch
from torch import nn
from variants import HandNorm, batch, gradients

from bnlint.layers import UnstoppedNorm
from bnlint.repairs.apply import repair
from bnlint.repairs.certify import prove
from bnlint.repairs.samples import samples_of_call


class ByGradMode(nn.Module):
    def __init__(self, channels=4, stop=True):
        super().__init__()
        shape = (1, channels, 1, 1)
        self.gamma, self.beta = nn.Parameter(torch.ones(shape)), nn.Parameter(torch.zeros(shape))
        self.register_buffer("moving_mean", torch.zeros(shape))
        self.register_buffer("moving_var", torch.ones(shape))
        self.stop = stop

    def forward(self, x):
        if not torch.is_grad_enabled():
            return self.gamma * (x - self.moving_mean) / torch.sqrt(self.moving_var + 1e-5) + self.beta
        mean = x.mean((0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        if self.stop:
            mean, var = mean.detach(), var.detach()
        self.moving_mean = 0.9 * self.moving_mean + 0.1 * mean.detach()
        self.moving_var = 0.9 * self.moving_var + 0.1 * var.detach()
        return self.gamma * (x - mean) / torch.sqrt(var + 1e-5) + self.beta


def test_it_does_the_same_with_and_without_gradients_in_both_modes():
    layer = ByGradMode().double()
    right = copy.deepcopy(layer)
    right.stop = False
    (certificate,) = repair(layer, batch())
    assert certificate.accepted and type(layer) is UnstoppedNorm
    for step, training in enumerate((True, False, True)):
        theirs = gradients(right.train(training), batch(seed=step))
        torch.testing.assert_close(gradients(layer.train(training), batch(seed=step)), theirs, rtol=1e-9, atol=1e-9)
        with torch.no_grad():
            torch.testing.assert_close(layer(batch(seed=9)), right(batch(seed=9)), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(dict(layer.named_buffers()), dict(right.named_buffers()), rtol=1e-9, atol=1e-9)


class Shifted(HandNorm):
    def __init__(self, enabled=None, **options):
        super().__init__(**options)
        self.enabled = enabled

    def forward(self, x):
        return super().forward(x) + (torch.is_grad_enabled() is self.enabled)


@pytest.mark.parametrize("enabled", [True, False])
def test_what_differs_in_one_grad_mode_only_is_no_repair(enabled):
    before = HandNorm().double()
    after = Shifted(enabled, stop=False).double()
    after.load_state_dict(before.state_dict())
    call = ((batch(),), {})
    proof = prove(before, after, samples_of_call(before, after, call), adopted=False)
    assert "outputs in training mode differ" in proof.failure(adopted=False)
    after.enabled = None
    assert prove(before, after, samples_of_call(before, after, call), adopted=False).failure(adopted=False) is None


class Activated(HandNorm):
    def forward(self, x):
        return super().forward(x).relu()


def test_an_ordinary_layer_has_one_program_for_each_mode():
    layer = Activated().double()
    (certificate,) = repair(layer, batch())
    assert certificate.accepted and list(layer.programs) == ["train", "eval"]
