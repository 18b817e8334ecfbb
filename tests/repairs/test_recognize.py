import pytest
import torch
from torch import nn
from variants import VARIANTS, HandNorm, batch

from bnlint.errors import RepairError
from bnlint.model.measure import measure
from bnlint.repairs.families import BATCH
from bnlint.repairs.recognize import Recipe, recognize, same_shape


def recipe_of(layer, rank=4):
    return recognize(layer, measure(layer, ((batch(rank),), {})))


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_batch_norm_is_made_of(name):
    options = VARIANTS[name]

    recipe = recipe_of(HandNorm(**options))

    affine = options.get("affine", True)
    names = ("weight", "bias") if affine else (None, None)
    assert recipe == Recipe(BATCH, (4, 4, 4, 3), (0, 2, 3), options.get("eps", 1e-3), *names)


@pytest.mark.parametrize("rank", [2, 3, 4, 5])
def test_the_rank_is_that_of_the_input(rank):
    recipe = recipe_of(HandNorm(), rank)
    assert (recipe.rank, recipe.channels) == (rank, 4)


class Wide:
    """A layer's parameters, shaped to be applied to an image."""

    def __init__(self, layer):
        self.layer = layer

    def __getattr__(self, name):
        return getattr(self.layer, name)[:, None, None]


class Plain(nn.Module):
    """A layer with two parameters whose forward is the test's."""

    def __init__(self, forward, *names):
        super().__init__()
        self.run = forward
        for name in names:
            self.register_parameter(name, nn.Parameter(torch.linspace(0.5, 1.5, 4)))

    def forward(self, x):
        mean = x.mean((0, 2, 3), keepdim=True)
        var = x.var((0, 2, 3), keepdim=True).detach()
        return self.run(Wide(self), x, mean, var)


def scaled(layer, x, mean, var):
    return (x - mean) * (layer.gamma * torch.rsqrt(var + 1e-4)) + layer.beta


def shifted(layer, x, mean, var):
    return (x - mean) / torch.sqrt(1e-4 + var) * layer.gamma - layer.beta


def folded(layer, x, mean, var):
    return layer.gamma * ((x - mean) / (var + 1e-4) ** 0.5) + layer.beta


@pytest.mark.parametrize("forward", [scaled, shifted, folded])
def test_weight_and_bias_are_known_by_what_they_do(forward):
    recipe = recipe_of(Plain(forward, "beta", "gamma"))
    assert (recipe.weight, recipe.bias, recipe.eps) == ("gamma", "beta", 1e-4)


REFUSED = {
    "a third parameter": (lambda s, x, m, v: (x - m) / (v + 1e-4).sqrt() * s.a * s.b + s.c, "abc", "neither scales"),
    "an unused parameter": (lambda s, x, m, v: (x - m) / (v + 1e-4).sqrt() * s.a, "ab", "`b` takes no part"),
    "no eps": (lambda s, x, m, v: (x - m) / v.sqrt() * s.a, "a", "no eps"),
    "an activation": (lambda s, x, m, v: torch.tanh((x - m) / (v + 1e-4).sqrt() * s.a), "a", "`tanh`"),
    "another input": (lambda s, x, m, v: (x - m) / (v + 1e-4).sqrt() * s.a.exp(), "a", "neither scales"),
    "two outputs": (lambda s, x, m, v: ((x - m) / (v + 1e-4).sqrt() * s.a, v), "a", "more than the normalized"),
    "no mean": (lambda s, x, m, v: x / (v + 1e-4).sqrt() * s.a, "a", "mean and a variance"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_batch_norm_says_why(name):
    forward, parameters, reason = REFUSED[name]
    with pytest.raises(RepairError, match=reason):
        recipe_of(Plain(forward, *parameters))


@pytest.mark.parametrize("axes", [(1, 2), (0, 1, 2, 3), (0,), (1,)])
def test_other_axes_are_told(axes):
    class Other(nn.Module):
        def forward(self, x):
            mean, var = x.mean(axes, keepdim=True), x.var(axes, keepdim=True)
            return (x - mean.detach()) / (var.detach() + 1e-5).sqrt()

    with pytest.raises(RepairError, match=r"\[0, 2, 3\]") as error:
        recipe_of(Other())
    assert str(list(axes)) in error.value.what


def test_reshaped_inputs_are_refused():
    class Rows(nn.Module):
        def forward(self, x):
            rows = x.transpose(0, 1).flatten(1)
            mean, var = rows.mean(1), rows.var(1)
            mean, var = (t.detach()[:, None, None] for t in (mean, var))
            return (x - mean) / (var + 1e-5).sqrt()

    with pytest.raises(RepairError, match="reshapes its input"):
        recipe_of(Rows())


def test_same_shape():
    assert same_shape(None, 3) and same_shape(torch.zeros(3), 3)
    assert not same_shape(torch.zeros(4), 3)
    assert not same_shape(torch.zeros(1, 3, 1, 1), 3)
