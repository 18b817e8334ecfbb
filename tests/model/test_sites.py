"""Which normalizations a recorded step has, and whose they are."""

import pytest
import torch
from torch import nn

from bnlint.model.check import check_model


class Stopped(nn.LayerNorm):
    def forward(self, x):
        mean, var = x.mean(-1, keepdim=True).detach(), x.var(-1, keepdim=True, correction=0).detach()
        return (x - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


class Two(nn.Module):
    """Two layers that normalize the same tensor."""

    def __init__(self, first, second):
        super().__init__()
        self.stem, self.first, self.second, self.mix = nn.Linear(8, 8), first, second, nn.Linear(8, 8)

    def forward(self, x):
        hidden = self.stem(x)
        return self.first(hidden) + self.mix(self.second(hidden))


@pytest.mark.parametrize(
    ("first", "second", "paths"),
    [
        (Stopped, Stopped, ["first", "second"]),
        (Stopped, nn.LayerNorm, ["first"]),
        (nn.LayerNorm, nn.LayerNorm, []),
    ],
)
def test_two_layers_of_one_tensor_are_two_normalizations(first, second, paths):
    torch.manual_seed(0)
    findings = check_model(Two(first(8), second(8)), torch.randn(4, 8))

    assert [(f.module.module, f.statistic) for f in findings] == [(p, s) for p in paths for s in ("mean", "var")]


class Parts(nn.Module):
    def __init__(self, take):
        super().__init__()
        self.stem, self.take = nn.Conv2d(3, 4, 1), take

    def forward(self, x):
        return self.take(self.stem(x))


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[:, :2] - x[:, 2:].mean().detach(),
        lambda x: x[:, 0] - x[:, 1].mean().detach(),
        lambda x: x.narrow(1, 0, 2) - x.narrow(1, 2, 2).mean().detach(),
        lambda x: x.select(1, 0) - x.select(1, 1).mean().detach(),
    ],
)
def test_the_statistic_of_another_part_of_a_tensor_normalizes_nothing(take):
    torch.manual_seed(0)

    assert check_model(Parts(take), torch.randn(6, 3, 4, 4)) == []


@pytest.mark.parametrize(
    "take",
    [
        lambda x: x[:, :2] - x[:, :2].mean().detach(),
        lambda x: x[:, 1] - x[:, 1].mean().detach(),
        lambda x: x[:, :4] - x[:, :].mean().detach(),
        lambda x: x.narrow(1, 0, 2) - x.narrow(1, 0, 2).mean().detach(),
        lambda x: x[:, 1] - x.mean((2, 3))[:, 1, None, None].detach(),
    ],
)
def test_that_of_the_same_part_does(take):
    torch.manual_seed(0)

    findings = check_model(Parts(take), torch.randn(6, 3, 4, 4))

    assert [(f.code, f.statistic) for f in findings] == [("BN101", "mean")]


def test_a_part_that_is_first_taken_without_gradients_is_live_where_it_is_taken_again():
    def take(x):
        with torch.no_grad():
            mean, var = x[:, :2].mean((0, 2, 3), keepdim=True), x[:, :2].var((0, 2, 3), keepdim=True)
        return (x[:, :2] - mean) / (var + 1e-3).sqrt()

    torch.manual_seed(0)
    findings = check_model(Parts(take), torch.randn(6, 3, 4, 4))

    assert [(f.code, f.statistic) for f in findings] == [("BN102", "mean"), ("BN102", "var")]
