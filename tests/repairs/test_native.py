import pytest
import torch
from torch import nn
from variants import INPUTS, VARIANTS, HandNorm, batch, state

from bnlint.errors import RepairError
from bnlint.model.measure import measure
from bnlint.repairs.conventions import Conventions, conventions_of
from bnlint.repairs.families import BATCH
from bnlint.repairs.native import build
from bnlint.repairs.recognize import Recipe, recognize


def batch_norm(rank, eps=1e-5):
    return Recipe(BATCH, INPUTS[rank], (0, *range(2, rank)), eps, "weight", "bias")


def observed(layer):
    recipe = recognize(layer, measure(layer, ((batch(),), {})))
    return conventions_of(layer, recipe)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("trained", [False, True])
def test_conventions_are_observed(name, trained):
    options = VARIANTS[name]
    layer = HandNorm(**options).double()
    for seed in range(3 if trained else 0):
        layer(batch(seed=seed))
    before = state(layer)

    conventions, momentum = observed(layer)

    tracks = options.get("tracks", True)
    updated = options.get("updates", "torch") != "none"
    assert conventions == Conventions(
        unbiased=options.get("unbiased", False),
        batch_statistics_in_eval=options.get("eval_by") == "batch",
        no_updates=not updated,
        biased_running_variance=options.get("updates") == "biased",
        no_count=options.get("counts") is False and updated,
    )
    if tracks and updated:
        given = options.get("momentum", 0.1)
        expected = 1 - given if options.get("reverse") else given
        assert momentum == (None if expected is None else pytest.approx(expected, abs=1e-12))
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


def test_a_closed_branch_shows_its_conventions_as_well():
    layer = HandNorm(unbiased=True)
    nn.init.zeros_(layer.weight)
    assert observed(layer)[0].unbiased


def test_differences_are_named_in_plain_words():
    assert tuple(Conventions()) == ()
    assert len(set(Conventions(True, True, True, True, True))) == 5


class Shaped(HandNorm):
    """A weight in two rows."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True).detach()
        return (x - mean) / (var + 1e-5).sqrt() * self.gamma[:, None, None] + self.beta[:, None, None]


class Jumping(HandNorm):
    def update(self, mean, var, count):
        self.num_batches_tracked += 1
        self.momentum = 0.5 / float(self.num_batches_tracked)
        super().update(mean, var, count)


@pytest.mark.parametrize(
    ("make", "reason"), [(Shaped, r"shaped \(C,\)"), (Named, "called `weight`"), (Jumping, "momentum")]
)
def test_what_native_layers_cannot_hold_is_refused(make, reason):
    with pytest.raises(RepairError, match=reason):
        observed(make())


def test_built_layers_hold_the_very_objects_and_flags():
    layer = HandNorm(bias_first=True).eval()
    layer._non_persistent_buffers_set.add("running_var")
    layer.register_forward_hook(lambda *_: None)

    built = build(layer, batch_norm(4, 0.25), Conventions(), 0.3)

    assert type(built) is nn.BatchNorm2d
    assert (built.eps, built.momentum, built.affine, built.track_running_stats) == (0.25, 0.3, True, True)
    assert [n for n, _ in built.named_parameters()] == ["bias", "weight"]
    assert built.weight is layer.weight and built.bias is layer.bias
    assert built.running_mean is layer.running_mean and built.running_var is layer.running_var
    assert list(built.state_dict()) == list(layer.state_dict())
    assert built._forward_hooks is layer._forward_hooks and not built.training


@pytest.mark.parametrize("flag", ["unbiased", "batch_statistics_in_eval", "no_updates", "biased_running_variance"])
def test_each_convention_needs_a_layer_of_ours(flag):
    built = build(HandNorm(), batch_norm(3), Conventions(**{flag: True}), 0.1)

    assert type(built).__name__ == "FusedBatchNorm1d"
    attribute = {"no_updates": "updates_running_statistics"}.get(flag, flag)
    assert getattr(built, attribute) is (flag != "no_updates")


def test_conventions_about_running_statistics_mean_nothing_without_them():
    layer = HandNorm(tracks=False)
    built = build(layer, batch_norm(4), Conventions(False, True, True), None)

    assert type(built) is nn.BatchNorm2d
    assert list(built.buffers()) == []
