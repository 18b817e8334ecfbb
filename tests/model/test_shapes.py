import pytest
import torch
from torch import nn

from bnlint.model.shapes import candidates, channels, shapes_of, shrunk


class Custom(nn.Module):
    def __init__(self, *shape):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(*shape))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((32, 3, 64, 80), [(4, 3, 4, 4), (4, 3, 4, 80), (8, 3, 64, 80), (32, 3, 64, 80)]),
        ((2, 3, 2, 9), [(2, 3, 2, 4), (2, 3, 2, 9)]),
        ((2, 197, 768), [(2, 197, 4), (2, 4, 768), (2, 197, 768)]),
        ((64, 10), [(8, 10), (64, 10)]),
        ((5,), [(5,)]),
        ((), [()]),
    ],
)
def test_smaller_shapes_come_first_and_the_shape_itself_last(shape, expected):
    assert list(dict.fromkeys(shrunk(shape))) == expected


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.BatchNorm2d(7), 7),
        (nn.BatchNorm2d(7, affine=False, track_running_stats=False), 7),
        (nn.GroupNorm(2, 6, affine=False), 6),
        (Custom(5), 5),
        (Custom(1, 5, 1, 1), 5),
        (Custom(5, 3), 15),
        (nn.Linear(3, 4), None),
        (nn.ReLU(), None),
    ],
)
def test_channels_are_what_parameters_tell(layer, count):
    assert channels(layer) == count


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(6),
        nn.BatchNorm2d(6),
        nn.BatchNorm3d(6),
        nn.InstanceNorm1d(6, affine=True),
        nn.InstanceNorm2d(6, affine=True),
        nn.InstanceNorm3d(6, affine=True),
        nn.LayerNorm(6),
        nn.LayerNorm((2, 6)),
        nn.GroupNorm(2, 6),
        nn.RMSNorm(6),
    ],
    ids=str,
)
def test_native_layers_take_one_of_the_shapes(layer):
    def runs(call):
        try:
            return layer(*call[0], **call[1]) is not None
        except (RuntimeError, ValueError):
            return False

    runs_on = [runs(call) for call in candidates(layer, None)]
    assert any(runs_on)
    if not isinstance(layer, (nn.GroupNorm, nn.RMSNorm)):  # these do not say how many dimensions they take
        assert all(runs_on)


def test_a_layer_that_tells_nothing_has_no_candidates():
    assert shapes_of(nn.Tanh()) == []
    assert list(candidates(nn.Tanh(), None)) == []
    assert list(candidates(nn.Tanh(), ((torch.arange(3),), {}))) == []


def test_only_the_first_floating_tensor_is_replaced():
    index, x, other = torch.arange(4), torch.full((9, 3, 8, 8), 7.0), torch.full((3,), 2.0)
    layer = nn.BatchNorm2d(3).double()

    found = list(candidates(layer, ((index, x), {"other": other, "flag": True})))

    assert [args[1].shape for args, _ in found] == [(4, 3, 4, 4), (4, 3, 4, 8), (8, 3, 8, 8), (9, 3, 8, 8)]
    for args, kwargs in found:
        assert args[0] is index
        assert args[1].dtype is torch.float64 and not (args[1] == 7.0).any()
        assert kwargs["flag"] is True and torch.equal(kwargs["other"], other.double())
    assert (x == 7.0).all()
    exact = list(candidates(layer, ((index, x), {}), shrink=False))
    assert [args[1].shape for args, _ in exact] == [(9, 3, 8, 8)]


def test_probes_are_normal_of_unit_variance_and_repeatable():
    layer = nn.BatchNorm2d(3)
    ((first,), _), ((again,), _), ((other,), _) = (
        next(candidates(layer, ((torch.zeros(64, 3, 64, 64),), {}), seed=seed, shrink=False)) for seed in (0, 0, 1)
    )

    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype is torch.float32
    assert float(first.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(first.var()) == pytest.approx(1.0, abs=0.01)
