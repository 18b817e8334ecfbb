"""Statistics of a recorded step whose arguments tell that they are some: sums of einsum, and pooling."""

import pytest
import torch
import torch.nn.functional as F
from inline import block
from torch import nn

from bnlint.model.check import check_model


def per_channel(statistic):
    return statistic.view(1, -1, 1, 1)


def einsum_variance(x, stop):
    centered = x - per_channel(torch.einsum("bchw->c", x) / 96)
    variance = stop(torch.einsum("bchw,bchw->c", centered, centered) / 96)
    return centered / per_channel(variance + 1e-5).sqrt()


def einsum_moments(x, stop):
    mean, square = torch.einsum("b...->...", x) / 6, torch.einsum("b...,b...->...", x, x) / 6
    return (x - mean) / (stop(square - mean * mean) + 1e-3).sqrt()


def applied_by_einsum(x, stop):
    return torch.einsum("c,bchw->bchw", stop(x.std((0, 2, 3)) + 1e-5).reciprocal(), x)


def pooled_rows(x, stop):
    rows = x.flatten(2)
    return rows.sub(stop(F.avg_pool1d(rows, rows.size(-1)))).view_as(x)


NORMALIZATIONS = {
    "einsum": (lambda x, stop: x - per_channel(stop(torch.einsum("bchw->c", x) / 96)), {"mean"}),
    "einsum with dots": (lambda x, stop: x - per_channel(stop(torch.einsum("bc...->c", x) / 96)), {"mean"}),
    "einsum of a product": (einsum_variance, {"var"}),
    "einsum of moments": (einsum_moments, {"mean", "var"}),
    "applied by einsum": (applied_by_einsum, {"std"}),
    "adaptive pooling": (lambda x, stop: x - stop(F.adaptive_avg_pool2d(x, 1)), {"mean"}),
    "pooling layer": (lambda x, stop: x - stop(nn.AdaptiveAvgPool2d((1, 1))(x)), {"mean"}),
    "pooling with a kernel": (lambda x, stop: x - stop(F.avg_pool2d(x, 4)), {"mean"}),
    "pooling of rows": (pooled_rows, {"mean"}),
    "pooled squares": (lambda x, stop: x * (stop(F.adaptive_avg_pool2d(x * x, 1)) + 1e-3).rsqrt(), {"rms"}),
    "largest magnitude": (lambda x, stop: x / (stop(F.adaptive_max_pool2d(x.abs(), 1)) + 1e-3), {"max"}),
}


@pytest.mark.parametrize(("function", "statistics"), NORMALIZATIONS.values(), ids=NORMALIZATIONS)
def test_a_stopped_statistic_is_found_and_measured(function, statistics):
    model, x = block(function, torch.detach)
    findings = check_model(model, x)

    assert {(f.code, f.statistic) for f in findings} == {("BN101", name) for name in statistics}
    assert all(f.measurement.exact and f.measurement.error > 1e-2 for f in findings)


@pytest.mark.parametrize("function", [function for function, _ in NORMALIZATIONS.values()], ids=NORMALIZATIONS)
def test_one_that_is_not_stopped_is_right(function):
    model, x = block(function, torch.clone)

    assert check_model(model, x) == []


def attention(x, stop):
    rows = x.flatten(2)
    return (torch.einsum("bid,bjd->bij", stop(rows), rows).softmax(-1) @ rows).view_as(x)


@pytest.mark.parametrize(
    "function",
    [
        attention,
        lambda x, stop: x * stop(F.adaptive_avg_pool2d(x, 1)).sigmoid(),  # a gate
        lambda x, stop: x - stop(F.avg_pool2d(x, 3, 1, 1)),  # a blurred copy
        lambda x, stop: x + stop(torch.einsum("bchw->bhwc", x)).permute(0, 3, 1, 2),  # another layout
        lambda x, stop: x[:, :2] - stop(F.adaptive_avg_pool2d(x[:, 2:], 1)),  # the mean of another part
    ],
)
def test_a_stop_of_what_is_no_statistic_of_the_tensor_is_none_of_ours(function):
    def spread(x, stop):
        return function(x, stop).repeat(1, 4, 1, 1)[:, :4]

    model, x = block(spread, torch.detach)

    assert check_model(model, x) == []
