"""Batch normalization whose weight and bias are shaped (1, C, 1, 1) or (C, 1, 1)."""

import copy

import pytest
import torch
from torch import nn
from variants import HandNorm, batch, gradients

from bnlint.layers import FusedBatchNorm2d
from bnlint.repairs.apply import repair

SHAPES = [(1, 4, 1, 1), (4, 1, 1)]


def wide(shape, **options):
    layer = HandNorm(**options).double()
    for name in ("weight", "bias"):
        setattr(layer, name, nn.Parameter(getattr(layer, name).detach().reshape(shape)))
    return layer


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("options", [{}, {"unbiased": True}, {"eval_by": "batch", "updates": "none"}])
def test_shapes_stay(shape, options):
    layer = wide(shape, **options)
    right = copy.deepcopy(layer)
    right.stop = False
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    before = list(layer.parameters())

    (certificate,) = repair(layer, batch())

    assert certificate.rung == "native" and type(layer) is FusedBatchNorm2d
    assert "shapes its parameters like (1, C, 1, 1)" in certificate.kept
    assert all(p is q and p.shape == shape for p, q in zip(before, layer.parameters(), strict=True))
    for training in (True, False):
        x = batch(seed=3)
        theirs = gradients(right.train(training), x)
        torch.testing.assert_close(gradients(layer.train(training), x), theirs, rtol=1e-9, atol=1e-9)
    layer(batch()).square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("shape", SHAPES)
def test_adopting_makes_them_torchs_and_keeps_the_objects(shape):
    layer = wide(shape)
    right = nn.BatchNorm2d(4, layer.eps).double()
    right.load_state_dict(
        {key: value.reshape(right.state_dict()[key].shape) for key, value in layer.state_dict().items()}
    )
    layer(batch()).square().mean().backward()
    before, waiting = list(layer.parameters()), layer.weight.grad.clone()
    right.load_state_dict({k: v.reshape(right.state_dict()[k].shape) for k, v in layer.state_dict().items()})

    (certificate,) = repair(layer, batch(), adopt_torch_conventions=True)

    assert certificate.accepted and certificate.class_after == "BatchNorm2d" and type(layer) is nn.BatchNorm2d
    assert certificate.adopted == ("shapes its parameters like (1, C, 1, 1)",)
    assert all(p is q and p.shape == (4,) for p, q in zip(before, layer.parameters(), strict=True))
    assert torch.equal(layer.weight.grad, waiting.reshape(-1))
    x = batch(seed=3)
    torch.testing.assert_close(gradients(layer, x), gradients(right, x), rtol=1e-9, atol=1e-9)


def test_not_in_place_nothing_is_reshaped():
    layer = wide((1, 4, 1, 1))
    assert repair(layer, batch(), inplace=False, adopt_torch_conventions=True)[0].accepted
    assert type(layer) is HandNorm and layer.weight.shape == (1, 4, 1, 1)
