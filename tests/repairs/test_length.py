"""Layers that ask for sizes by `len`, `float` and `int`, which hand out plain numbers."""

import pytest
import torch
from torch import nn

from bnlint.repairs.apply import repair

pytestmark = pytest.mark.filterwarnings("ignore")


class Counting(nn.Module):
    """Batch normalization without a gradient through its mean; `activated` is none of torch's normalizations."""

    activated = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(3) + 0.5)

    def seen(self, x):
        return x

    def forward(self, x):
        seen = self.seen(x)
        mean, var = seen.mean((0, 2, 3)).detach(), seen.var((0, 2, 3), unbiased=False)
        x = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt() * self.weight.view(1, -1, 1, 1)
        return torch.relu(x) if self.activated else x


class Long(Counting):
    def seen(self, x):
        return x[:500] if len(x) > 500 else x


class LongAsFloat(Counting):
    def seen(self, x):
        return x[:500] if float(x.size(0)) > 500.0 else x


class Wide(Counting):
    def seen(self, x):
        return x.clamp(-3, 3) if int(x.shape[2]) * int(x.shape[3]) > 10_000 else x


class Short(Counting):
    def seen(self, x):
        return torch.cat([x, x]) if len(x) == 2 else x


class Odd(Counting):
    def seen(self, x):
        return x[1:] if len(x) % 2 else x


class Asserting(Counting):
    """Asks for what does not matter."""

    def seen(self, x):
        assert len(x.shape) == 4 and len(x) > 0 and int(x.shape[1]) == len(self.weight)
        return x.view(len(x), 3, int(x.shape[2]), -1)


class Guarding(Counting):
    def seen(self, x):
        assert len(x) > 0 and float(x.numel()) > 1.0 and len(x.shape) == 4
        return x


class Averaging(Counting):
    """Counts its values in a plain number."""

    def forward(self, x):
        count = float(x.numel() // x.size(1))
        mean = x.sum((0, 2, 3)).detach() / count
        var = ((x - mean.view(1, -1, 1, 1)) ** 2).sum((0, 2, 3)) / count
        return (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt() * self.weight.view(1, -1, 1, 1)


def data():
    return torch.randn(4, 3, 5, 4, generator=torch.Generator().manual_seed(1)) * 1.5 + 0.5


@pytest.mark.parametrize("activated", [False, True], ids=["native", "unstop"])
@pytest.mark.parametrize("kind", [Long, LongAsFloat, Wide, Short, Odd])
def test_a_layer_that_does_something_else_for_other_sizes_is_refused(kind, activated):
    layer = kind()
    layer.activated = activated
    (certificate,) = repair(layer, data())
    assert not certificate.accepted and "what it does depends on the size of its input" in certificate.reason


@pytest.mark.parametrize(("kind", "activated"), [(Asserting, False), (Averaging, False), (Guarding, True)])
def test_a_layer_that_asks_for_sizes_and_does_the_same_for_all_is_repaired(kind, activated):
    layer = kind()
    layer.activated = activated
    (certificate,) = repair(layer, data())
    assert certificate.rung == ("unstop" if activated else "native")
