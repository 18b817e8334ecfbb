"""Normalizations that are no layer of their own are measured on their part of the recorded step."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlint.finding import Severity
from bnlint.model.check import check_layers, check_model
from bnlint.model.layers import find_layers
from bnlint.repairs.apply import repair

pytestmark = pytest.mark.filterwarnings("ignore")


def x(*shape):
    return torch.randn(*(shape or (4, 3, 6, 6)), generator=torch.Generator().manual_seed(2))


class Block(nn.Module):
    """A block that normalizes by hand between other layers."""

    def __init__(self, forward, channels=4):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, channels, 1), nn.BatchNorm2d(channels)
        self.inner = forward

    def forward(self, x):
        return self.inner(self, self.conv(x))


def normalized(h, mean=None, var=None):
    mean = h.mean((0, 2, 3), keepdim=True) if mean is None else mean
    var = h.var((0, 2, 3), keepdim=True, unbiased=False) if var is None else var
    return (h - mean) / (var + 1e-5).sqrt()


def live(block, h):
    return normalized(h)


def stopped_mean(block, h):
    return normalized(h, mean=h.mean((0, 2, 3), keepdim=True).detach())


def stopped_second(block, h):
    h = block.bn(normalized(h)).relu()
    return normalized(h, var=h.var((0, 2, 3), keepdim=True, unbiased=False).detach())


def tolist(block, h):
    mean = torch.tensor(h.mean((0, 2, 3)).tolist(), dtype=h.dtype)
    return F.dropout(normalized(h, mean=mean[:, None, None]), 0.5)


def quantized(block, h):
    h = normalized(h)
    return h + ((h * 8).round() / 8 - h).detach()


def target_branch(block, h):
    with torch.no_grad():
        target = normalized(h * 2)
    return (normalized(h) - target) ** 2


def autocast(block, h):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return normalized(block.conv.weight.new_ones(()) * h, mean=h.mean((0, 2, 3), keepdim=True).detach())


@pytest.mark.parametrize("forward", [live, quantized, target_branch])
def test_what_is_right_is_silent_whatever_stops_are_beside_it(forward):
    assert check_model(Block(forward), x()) == []


@pytest.mark.parametrize(
    ("forward", "statistics"),
    [(stopped_mean, ["mean"]), (stopped_second, ["var"]), (tolist, ["mean"]), (autocast, ["mean"])],
)
def test_what_is_stopped_is_found_and_measured(forward, statistics):
    model = nn.Sequential(Block(forward), nn.Conv2d(4, 2, 1))
    findings = check_model(model, x())

    assert [f.statistic for f in findings] == statistics
    assert {(f.module.module, f.module.class_name, f.severity) for f in findings} == {("0", "Block", Severity.ERROR)}
    assert all(f.measurement.error > 1e-2 and f.location.path == __file__ for f in findings)
    assert all(f.measurement.exact is (forward is not tolist) for f in findings)


def test_the_error_is_that_of_the_same_normalization_as_a_layer():
    class Norm(nn.Module):
        def forward(self, h):
            return stopped_mean(None, h)

    def error(model, given):
        (finding,) = check_model(model, given)
        return finding.measurement.error

    # About sqrt(1 / n): one of two lost directions of n values per channel, whichever way it is written.
    assert error(Block(stopped_mean), x()) == pytest.approx((4 * 36) ** -0.5, rel=0.6)
    assert error(Norm(), x(4, 4, 6, 6)) == pytest.approx((4 * 16) ** -0.5, rel=0.6)


def apart(stop):
    """Channels in two parts, each centered by its own mean."""

    def forward(block, h):
        return torch.cat([part - stop(part.mean((0, 2, 3), keepdim=True)) for part in h.split(2, dim=1)], 1)

    return forward


def test_parts_that_are_normalized_one_by_one_are_one_normalization():
    assert check_model(nn.Sequential(Block(apart(torch.clone)), nn.Conv2d(4, 2, 1)), x()) == []

    findings = check_model(nn.Sequential(Block(apart(torch.detach)), nn.Conv2d(4, 2, 1)), x())

    assert [(f.statistic, f.module.module, f.location.path) for f in findings] == [("mean", "0", __file__)] * 2
    # About sqrt(1 / n): one lost direction of n values per channel.
    assert findings[0].measurement.error == pytest.approx((4 * 16) ** -0.5, rel=0.6)


def test_a_weight_that_is_standardized_is_measured_as_a_weight():
    class Standardized(nn.Conv2d):
        def forward(self, x):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True).detach()
            return F.conv2d(x, weight / (self.weight.std((1, 2, 3), keepdim=True) + 1e-5))

    (finding,) = check_model(nn.Sequential(Standardized(3, 4, 3)), x())

    assert (finding.statistic, finding.severity) == ("mean", Severity.WARNING)
    assert "weight" in finding.message


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_lifted(dtype):
    assert [f.statistic for f in check_model(Block(stopped_mean).to(dtype), x().to(dtype))] == ["mean"]
    assert check_model(Block(live).to(dtype), x().to(dtype)) == []


def test_it_is_measured_alone_and_repair_says_where_it_is():
    model = Block(stopped_mean)
    (layer,) = find_layers(model, (x(),))
    assert not layer.whole
    (item,) = check_layers([layer])
    assert item.measured.disagreement > 1e-2

    (certificate,) = repair(model, x())
    assert not certificate.accepted
    assert "written inside Block" in certificate.reason


class Exported(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        h = self.conv(x)
        mean = h.mean((0, 2, 3), keepdim=True)
        var = ((h - mean) ** 2).mean((0, 2, 3), keepdim=True).detach()  # stop
        return (h - mean) / (var + 1e-5).sqrt()


def test_an_exported_graph_is_told_by_its_own_notes():
    exported = torch.export.export(nn.Sequential(Exported(), nn.Conv2d(4, 2, 1)), (x(),)).module()
    (finding,) = check_model(exported, x())

    assert (finding.statistic, finding.module.module, finding.location.path) == ("var", "0", __file__)
    assert Path(__file__).read_text().splitlines()[finding.location.line - 1].endswith("# stop")


def test_a_traced_graph_without_notes_is_measured_all_the_same():
    traced = torch.fx.symbolic_trace(Block(stopped_mean))
    assert [(f.statistic, f.code) for f in check_model(traced, x())] == [("mean", "BN101")]
