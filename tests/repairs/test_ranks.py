"""A repaired layer takes inputs of the ranks that the layer took, not only of the one that it was measured with."""

import copy

import pytest
import torch
from torch import nn
from variants import HandNorm, gradients

from bnlint.layers import FusedBatchNorm2d, UnstoppedNorm
from bnlint.repairs.apply import repair


class Gained(nn.Module):
    """The layer norm of the annotated transformer."""

    def __init__(self, size=6, stop=True):
        super().__init__()
        self.a_2, self.b_2, self.stop = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size)), stop

    def forward(self, x):
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        if self.stop:
            mean, std = mean.detach(), std.detach()
        return self.a_2 * (x - mean) / (std + 1e-6) + self.b_2


def given(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def same(repaired, right, *shape):
    for training in (True, False):
        theirs = gradients(right.train(training), given(*shape))
        torch.testing.assert_close(gradients(repaired.train(training), given(*shape)), theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(4, 6), (3, 5, 6), (2, 3, 4, 6)])
def test_what_is_taken_over_the_last_dimension_is_taken_of_any_input(shape):
    layer = Gained().double()
    right = copy.deepcopy(layer)
    right.stop = False
    (certificate,) = repair(layer, given(*shape))
    assert certificate.accepted and type(layer) is UnstoppedNorm
    assert {len(shape) for shape in certificate.shapes} == {2, 3, 4}
    for size in ((4, 6), (3, 5, 6), (2, 3, 4, 6)):
        same(layer, right, *size)


class Masked(nn.Module):
    """Takes two inputs, which nobody can guess: its layer is not seen at work."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, mask):
        return self.layer(x) * mask


@pytest.mark.filterwarnings("ignore")
def test_a_layer_that_was_not_seen_at_work_keeps_all_that_it_takes():
    layer = HandNorm().double()
    right = copy.deepcopy(layer)
    right.stop = False
    (certificate,) = repair(Masked(layer))
    assert certificate.accepted and "how many dimensions" in certificate.reason
    for size in ((8, 4), (3, 4, 6), (2, 4, 5, 6)):
        same(layer, right, *size)


class OfImages(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        return (x - mean) / (x.var((0, 2, 3), keepdim=True) + 1e-5).sqrt() * self.gamma.view(1, -1, 1, 1)


@pytest.mark.filterwarnings("ignore")
def test_a_layer_of_images_says_what_it_was_repaired_for():
    layer = OfImages().double()
    (certificate,) = repair(Masked(layer))
    assert certificate.accepted and {len(shape) for shape in certificate.shapes} == {4}
    with pytest.raises(RuntimeError, match=r"inputs of \[4\] dimensions, and gets \[2\]: repair it again .* --input"):
        layer(given(8, 4))


def test_torch_s_own_layer_is_built_where_an_input_was_seen_or_only_one_rank_is_taken():
    for shape in ((8, 4), (3, 4, 6), (2, 4, 5, 6)):
        layer = HandNorm(unbiased=True).double()
        (certificate,) = repair(layer, given(*shape))
        assert certificate.rung == "native"
    assert type(layer) is FusedBatchNorm2d


def test_what_is_written_for_other_ranks_is_plain(tmp_path):
    layer = Gained().double()
    repair(layer, given(3, 5, 6))
    torch.save(layer, tmp_path / "a.pt")
    with torch.serialization.safe_globals([UnstoppedNorm]):
        again = torch.load(tmp_path / "a.pt")
    assert torch.equal(again(given(4, 6)), layer(given(4, 6)))
