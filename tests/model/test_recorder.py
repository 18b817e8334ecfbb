"""What a recorded step keeps alive is not as large as the step itself."""

import gc
import weakref

import torch
from stops import StoppedNorm
from torch import nn

from bnlint.model.capture import capture
from bnlint.model.layers import find_layers

SEEN = []


class Told(nn.Module):
    """Notes each tensor that it passes on."""

    def forward(self, x):
        SEEN.append(weakref.ref(made := x * 2))
        return made


def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), Told(), StoppedNorm(4, "detach"), nn.ReLU())


def test_tensors_of_the_run_are_gone_without_the_garbage_collector():
    SEEN.clear()
    gc.disable()
    try:
        captured = capture(model(), (torch.randn(4, 3, 8, 8),))
        assert len(SEEN) == 2  # as it is, and recorded; a replay runs no module
        assert [ref() for ref in SEEN] == [None, None]
    finally:
        gc.enable()
    assert captured.unfaithful is None


def test_inputs_of_layers_are_told_without_their_numbers():
    (layer,) = find_layers(model(), (torch.randn(4, 3, 8, 8),))
    (x,), _ = layer.call
    assert x.shape == (4, 4, 6, 6) and x.untyped_storage().nbytes() == 4
