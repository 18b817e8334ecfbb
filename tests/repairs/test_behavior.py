"""Layers that compute their statistics where nobody sees it are recognized by their outputs."""

import numpy as np
import pytest
import torch
from torch import nn
from variants import gradients

from bnlint.errors import RepairError
from bnlint.model.measure import measure
from bnlint.repairs.apply import repair
from bnlint.repairs.behavior import recognize_by_behavior


class NumpyNorm(nn.Module):
    """`own(mean, var)` is what it makes of its statistics."""

    def __init__(self, dims, size, centers=True, eps=1e-3, own=lambda mean, var: (mean, var)):
        super().__init__()
        self.dims, self.centers, self.eps, self.own = dims, centers, eps, own
        self.per_channel = size == 4 and dims != (3,)
        self.weight = nn.Parameter(torch.rand(size) + 0.5)
        if centers:
            self.bias = nn.Parameter(torch.rand(size))

    def forward(self, x):
        array = x.detach().numpy()
        mean = array.mean(self.dims, keepdims=True) * self.centers
        mean, var = self.own(mean, ((array - mean) ** 2).mean(self.dims, keepdims=True))
        out = (x - torch.as_tensor(mean)) / torch.as_tensor(np.sqrt(var + self.eps))
        wide = (-1, 1, 1) if self.per_channel else self.weight.shape
        out = out * self.weight.view(wide)
        return out + self.bias.view(wide) if self.centers else out


LAYERS = {
    "batch": (lambda: NumpyNorm((0, 2, 3), 4), lambda: nn.BatchNorm2d(4, 1e-3, None, track_running_stats=False)),
    "instance": (lambda: NumpyNorm((2, 3), 4), lambda: nn.InstanceNorm2d(4, 1e-3, affine=True)),
    "group": (lambda: NumpyNorm((1, 2, 3), 4), lambda: nn.GroupNorm(1, 4, 1e-3)),
    "layer": (lambda: NumpyNorm((3,), 6), lambda: nn.LayerNorm(6, 1e-3)),
    "two dimensions": (lambda: NumpyNorm((2, 3), (5, 6)), lambda: nn.LayerNorm((5, 6), 1e-3)),
    "RMS": (lambda: NumpyNorm((3,), 6, centers=False), lambda: nn.RMSNorm(6, 1e-3)),
    "a small eps": (lambda: NumpyNorm((3,), 6, eps=1e-8), lambda: nn.LayerNorm(6, 1e-8)),
    "a large eps": (lambda: NumpyNorm((3,), 6, eps=0.7), lambda: nn.LayerNorm(6, 0.7)),
}


def data(seed):
    return torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5


class BareNorm(nn.Module):
    """A root mean square norm without parameters."""

    def forward(self, x):
        square = (x.detach().numpy() ** 2).mean(-1, keepdims=True)
        return x / torch.as_tensor(np.sqrt(square + 1e-3))


def test_without_parameters_it_is_made_for_the_size_that_it_was_called_with():
    layer, call = BareNorm().double(), ((torch.randn(3, 4, 5, 13, dtype=torch.float64),), {})
    recipe = recognize_by_behavior(layer, measure(layer, call), call)
    assert (recipe.family.name, recipe.size, recipe.fixed) == ("RMSNorm", (13,), (3,))


@pytest.mark.parametrize("name", LAYERS)
def test_it_becomes_torchs_own(name):
    layer, right = (make().double() for make in LAYERS[name])
    right.load_state_dict(layer.state_dict())

    (certificate,) = repair(layer, data(1))

    assert certificate.rung == "native", certificate.reason
    assert repr(layer) == repr(right)
    # NumPy shows autograd nothing, so nothing but finite differences tells the true gradient.
    assert certificate.numeric_error is not None and 0 < certificate.numeric_error < 1e-3
    torch.testing.assert_close(gradients(layer, data(2)), gradients(right, data(2)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "own",
    [
        lambda mean, var: (0.9 * mean, var),
        lambda mean, var: (mean, 1.1 * var),
        lambda mean, var: (mean, np.maximum(var, 0.5)),
        lambda mean, var: (mean * 0, var),
    ],
)
def test_what_is_none_of_torchs_is_not_taken_for_one(own):
    layer = NumpyNorm((0, 2, 3), 4, own=own)
    with pytest.raises(RepairError, match="not what one of torch's"):
        recognize_by_behavior(layer, measure(layer, ((data(1),), {})))
    assert not repair(layer, data(1).float())[0].accepted


def test_what_looks_like_torchs_at_one_scale_is_no_repair():
    layer = NumpyNorm((0, 2, 3), 4, own=lambda mean, var: (mean, var + 1e-3 * var.mean()))
    assert not repair(layer, data(1).float())[0].accepted


def test_parameters_of_other_names_are_the_reason_where_they_are():
    layer = NumpyNorm((0, 2, 3), 4)
    layer.gamma = layer.weight
    del layer.weight
    layer.weight = torch.ones(4)
    with pytest.raises(RepairError, match="its parameters are not called `weight` and `bias`"):
        recognize_by_behavior(layer, measure(layer, ((data(1),), {})))
