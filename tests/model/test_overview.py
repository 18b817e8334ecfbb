"""Every normalization of a model is in the overview, in the order of its modules."""

import torch
from stops import net
from torch import nn

from bnlint.model.check import check_layers
from bnlint.model.layers import Checked, find_layers
from bnlint.model.overview import overview


class Inside(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.conv, self.norm = nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), net("detach").norm

    def forward(self, x):
        x = self.norm(self.conv(self.first(x)))
        return x - x.mean(1, keepdim=True).detach()


def checked(model):
    torch.manual_seed(0)
    return list(check_layers(find_layers(model, (torch.randn(4, 3, 8, 8),))))


def test_layers_of_torch_and_measured_ones_are_in_the_order_of_the_modules():
    model = Inside()
    model.norm = type(model.norm)(4, "detach")

    found = overview("pkg:make", [("", model)], checked(model))

    assert found.target == "pkg:make"
    assert [layer.place.module for layer in found.layers] == ["", "first", "norm"]
    inside, first, norm = found.layers
    assert (first.measurement, first.problem, first.findings) == (None, "", ())
    assert inside.findings[0].statistic == "mean" and inside.measurement.error > 0.01
    assert {finding.statistic for finding in norm.findings} == {"mean", "var"}
    assert norm.measurement.harm is not None and norm.measurement.shape[1] == 4


def test_models_of_a_checkpoint_have_their_names_and_what_failed_its_reason():
    model = Inside()
    model.norm = type(model.norm)(4, "detach")
    items = [Checked(find_layers(model, (torch.randn(4, 3, 8, 8),))[1], None, "odd")]
    found = overview("model.pt", [("ema", nn.BatchNorm1d(2)), ("", model)], items)
    assert [(layer.place.module, layer.problem) for layer in found.layers] == [
        ("ema", ""),
        ("first", ""),
        ("norm", "odd"),
    ]
