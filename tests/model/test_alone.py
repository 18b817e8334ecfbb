"""Layers of a model that cannot be run: found by what they do, and what was not measured is not said to be right."""

import sys

import pytest
import torch
from torch import nn

from bnlint.cli import main
from bnlint.model.assumed import assumed
from bnlint.model.layers import layers_alone


class Centered(nn.Module):
    """A batch norm with no name for it, and no names of torch's."""

    def __init__(self, channels=4):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.register_buffer("moving_var", torch.ones(1, channels, 1, 1))

    def forward(self, x):
        if not self.training:
            return x / self.moving_var.sqrt() * self.gain
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        return (x - mean) / (x.var((0, 2, 3), keepdim=True) + 1e-5).sqrt() * self.gain


class Scale(nn.Module):
    def __init__(self, channels=4):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x):
        return x * self.gain


class Standardized(nn.Module):
    """Normalizes its own weight, and no activation."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4))

    def forward(self, x):
        return x * ((self.weight - self.weight.mean().detach()) / self.weight.std().detach()).view(1, -1, 1, 1)


class OddNorm(Scale):
    def forward(self, x, y):
        return x * self.gain * y


class Masked(nn.Module):
    """Takes two inputs, which nobody can guess."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x, mask):
        return self.layers(x) * mask


def test_what_normalizes_is_found_by_what_it_does():
    others = [Scale(), Standardized(), nn.BatchNorm2d(4), nn.PReLU(4)]
    model = Masked(nn.Conv2d(3, 4, 3), Centered(), OddNorm(), *others)
    assert [layer.path for layer in layers_alone(model)] == ["layers.1", "layers.2"]


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--trust"])
    out, err = capsys.readouterr()
    return ended.value.code, " ".join(out.split()), err


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "test_alone", sys.modules[__name__])

    def save(*layers):
        torch.save(Masked(*layers), "a.pt")

    return save


def test_they_are_checked_and_repaired(saved, capsys):
    saved(nn.Conv2d(3, 4, 3), Centered(), OddNorm())
    code, out, err = run(capsys, "check", "a.pt")
    assert code == 1 and "layers.1" in out and "not measured: layers.2" in err
    code, out, err = run(capsys, "fix", "a.pt", "-o", "b.pt")
    assert code == 0 and "repaired 1 layer: Centered" in out and "not measured: layers.2" in err


def test_fix_says_no_more_than_was_measured(saved, capsys):
    saved(nn.Conv2d(3, 4, 3), Scale(), nn.BatchNorm2d(4))
    assert "no normalization was found that torch did not write" in run(capsys, "fix", "a.pt", "-o", "b.pt")[1]
    saved(nn.Conv2d(3, 4, 3), OddNorm(), RightNorm())
    code, out, err = run(capsys, "fix", "a.pt", "-o", "b.pt")
    assert code == 0 and "not measured: layers.1" in err
    assert "the gradient of what could be measured is right" in out and "every" not in out
    saved(nn.Conv2d(3, 4, 3), RightNorm())
    assert "every layer's gradient is right" in run(capsys, "fix", "a.pt", "-o", "b.pt")[1]


class RightNorm(Scale):
    def forward(self, x):
        return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True) * self.gain


@pytest.mark.parametrize("size", [8, 28, 96])
def test_an_image_of_a_usual_size_that_fits_a_linear_layer_is_assumed(size):
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * size * size, 2))
    assert any((given.shape[-1],) == (size,) for (given,) in assumed(model))
