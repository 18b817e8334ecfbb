"""Layers that stand for torch's other normalizations: over rows, instances and groups."""

import copy
import re

import pytest
import torch
from torch import nn
from variants import gradients

from bnlint.errors import RepairError
from bnlint.model.check import check_model
from bnlint.repairs import native
from bnlint.repairs.apply import repair
from bnlint.repairs.families import FAMILIES, family_of

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


class Hand(nn.Module):
    """A normalization written out; `stopped` says which of its statistics are stopped, `by` how."""

    def __init__(self, dims, *, size=None, names=("weight", "bias"), stopped="both", by="detach", eps=1e-3, unbiased=0):
        super().__init__()
        self.dims, self.stopped, self.by, self.eps, self.unbiased = dims, stopped, by, eps, unbiased
        self.per_channel = isinstance(size, int) and dims != -1
        for name in names if size else ():
            low, high = {"weight": (0.5, 1.5), "bias": (-0.5, 0.5)}[name]
            self.register_parameter(name, nn.Parameter(torch.empty(size).uniform_(low, high)))
        self.weight, self.bias = getattr(self, "weight", None), getattr(self, "bias", None)

    def statistic(self, name, compute):
        stop = self.stopped in (name, "both")
        with torch.set_grad_enabled(torch.is_grad_enabled() and not (stop and self.by == "no_grad")):
            value = compute()
        return value.detach() if stop and self.by == "detach" else value

    def normalized(self, x):
        mean = self.statistic("mean", lambda: x.mean(self.dims, keepdim=True))
        var = self.statistic("var", lambda: x.var(self.dims, correction=self.unbiased, keepdim=True))
        return (x - mean) / torch.sqrt(var + self.eps)

    def wide(self, parameter, x):
        return parameter.view(-1, *[1] * (x.dim() - 2)) if self.per_channel else parameter

    def forward(self, x):
        out = self.normalized(x)
        if self.weight is not None:
            out = out * self.wide(self.weight, x)
        return out if self.bias is None else out + self.wide(self.bias, x)


class HandRMS(Hand):
    def normalized(self, x):
        return x * torch.rsqrt(self.statistic("var", lambda: x.pow(2).mean(self.dims, keepdim=True)) + self.eps)


class LlamaRMS(HandRMS):
    """Takes its statistics in float32, as large models do."""

    def forward(self, x):
        return self.weight * self.normalized(x.to(torch.float32)).to(x.dtype)


class Groups(Hand):
    groups = 2

    def normalized(self, x):
        return super().normalized(x.reshape(x.shape[0], self.groups, -1)).reshape(x.shape)


class ThreeGroups(Groups):
    groups = 3


class Rows(Hand):
    """Instance normalization of flattened images."""

    def normalized(self, x):
        return super().normalized(x.flatten(2)).reshape(x.shape)


class InstanceLike(Hand):
    pass


class LayerLike(Hand):
    pass


class OfTorch(nn.LayerNorm):
    def forward(self, x):
        dims = tuple(range(-len(self.normalized_shape), 0))
        with torch.no_grad():
            mean, var = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
        out = (x - mean) / (var + self.eps) ** 0.5
        return out if self.weight is None else out * self.weight + self.bias


def data(*shape, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * 1.5 + 0.5).to(dtype)


# name: (layer, input shape, input shape of another size, torch's own layer)
LAYERS = {
    "tokens": (lambda **o: Hand(-1, size=6, **o), (3, 5, 6), (2, 9, 6), lambda: nn.LayerNorm(6, 1e-3)),
    "rows": (lambda **o: Hand(-1, size=6, **o), (5, 6), (2, 6), lambda: nn.LayerNorm(6, 1e-3)),
    "heads": (lambda **o: Hand(-1, size=6, **o), (2, 3, 4, 6), (1, 5, 2, 6), lambda: nn.LayerNorm(6, 1e-3)),
    "two dimensions": (
        lambda **o: Hand((-2, -1), size=(5, 6), **o),
        (3, 5, 6),
        (9, 5, 6),
        lambda: nn.LayerNorm((5, 6), 1e-3),
    ),
    "three dimensions": (
        lambda **o: Hand((1, 2, 3), size=(2, 3, 4), **o),
        (3, 2, 3, 4),
        (7, 2, 3, 4),
        lambda: nn.LayerNorm((2, 3, 4), 1e-3),
    ),
    "no bias": (
        lambda **o: Hand(-1, size=6, names=["weight"], **o),
        (3, 5, 6),
        (2, 9, 6),
        lambda: nn.LayerNorm(6, 1e-3, bias=False),
    ),
    "bias first": (
        lambda **o: Hand(-1, size=6, names=["bias", "weight"], **o),
        (3, 5, 6),
        (2, 9, 6),
        lambda: nn.LayerNorm(6, 1e-3),
    ),
    "no parameters": (
        lambda **o: LayerLike(-1, **o),
        (3, 5, 6),
        (2, 9, 6),
        lambda: nn.LayerNorm(6, 1e-3, elementwise_affine=False),
    ),
    "RMS": (
        lambda **o: HandRMS(-1, size=6, names=["weight"], **o),
        (3, 5, 6),
        (2, 9, 6),
        lambda: nn.RMSNorm(6, 1e-3),
    ),
    "RMS in float32": (
        lambda **o: LlamaRMS(-1, size=6, names=["weight"], **o),
        (3, 5, 6),
        (2, 9, 6),
        lambda: nn.RMSNorm(6, 1e-3),
    ),
    "RMS of two dimensions": (
        lambda **o: HandRMS((-2, -1), size=(5, 6), names=["weight"], **o),
        (3, 5, 6),
        (8, 5, 6),
        lambda: nn.RMSNorm((5, 6), 1e-3),
    ),
    "RMS without weight": (
        lambda **o: HandRMS(-1, **o),
        (2, 3, 4, 6),
        (1, 7, 3, 6),
        lambda: nn.RMSNorm(6, 1e-3, elementwise_affine=False),
    ),
    "instance 1d": (
        lambda **o: Hand(2, size=4, **o),
        (3, 4, 9),
        (2, 4, 7),
        lambda: nn.InstanceNorm1d(4, 1e-3, affine=True),
    ),
    "instance 2d": (
        lambda **o: Hand((2, 3), size=4, **o),
        (3, 4, 5, 6),
        (1, 4, 9, 7),
        lambda: nn.InstanceNorm2d(4, 1e-3, affine=True),
    ),
    "instance 3d": (
        lambda **o: Hand((2, 3, 4), size=4, **o),
        (2, 4, 3, 2, 5),
        (1, 4, 2, 2, 2),
        lambda: nn.InstanceNorm3d(4, 1e-3, affine=True),
    ),
    "instance without parameters": (
        lambda **o: Hand((2, 3), **o),
        (3, 4, 5, 6),
        (2, 4, 7, 3),
        lambda: nn.InstanceNorm2d(4, 1e-3),
    ),
    "instance 1d without parameters": (
        lambda **o: InstanceLike(2, **o),
        (3, 4, 9),
        (2, 4, 7),
        lambda: nn.InstanceNorm1d(4, 1e-3),
    ),
    "two groups": (
        lambda **o: Groups((2,), size=4, **o),
        (3, 4, 5, 6),
        (2, 4, 7, 3),
        lambda: nn.GroupNorm(2, 4, 1e-3),
    ),
    "three groups of a volume": (
        lambda **o: ThreeGroups((2,), size=6, **o),
        (3, 6, 2, 3, 4),
        (1, 6, 2, 2, 2),
        lambda: nn.GroupNorm(3, 6, 1e-3),
    ),
    "instance from rows": (
        lambda **o: Rows((2,), size=4, **o),
        (3, 4, 5, 6),
        (1, 4, 9, 7),
        lambda: nn.InstanceNorm2d(4, 1e-3, affine=True),
    ),
    "one group": (
        lambda **o: Hand((1, 2, 3), size=4, **o),
        (3, 4, 5, 6),
        (2, 4, 7, 3),
        lambda: nn.GroupNorm(1, 4, 1e-3),
    ),
}
STOPS = [("both", "detach"), ("both", "no_grad"), ("mean", "detach"), ("var", "no_grad")]


def assert_same(layer, right, *shapes):
    for seed, shape in enumerate(shapes):
        for training in (True, False):
            x = data(*shape, seed=seed)
            torch.testing.assert_close(layer.train(training)(x), right.train(training)(x), **TIGHT)
            torch.testing.assert_close(gradients(layer, x), gradients(right, x), **TIGHT)


@pytest.mark.parametrize(("stopped", "by"), STOPS)
@pytest.mark.parametrize("name", LAYERS)
def test_a_repaired_layer_is_torchs_own(name, stopped, by):
    make, shape, other, native_layer = LAYERS[name]
    if stopped == "mean" and isinstance(make(), HandRMS):
        stopped = "both"
    layer = make(stopped=stopped, by=by).double()
    right = native_layer().double()
    right.load_state_dict(layer.state_dict())
    named, keys = list(layer.named_parameters()), list(layer.state_dict())
    assert float((gradients(layer, data(*shape))["input"] - gradients(right, data(*shape))["input"]).norm()) > 1e-2

    (certificate,) = repair(layer, data(*shape))

    assert certificate.accepted, certificate.reason
    assert (type(layer), repr(layer)) == (type(right), repr(right))
    assert certificate.class_after == type(right).__name__ and certificate.rung == "native"
    assert certificate.gradient_error_before > 1e-2 and len(set(certificate.shapes)) == 3
    assert all(a == b and p is q for (a, p), (b, q) in zip(named, layer.named_parameters(), strict=True))
    assert list(layer.state_dict()) == keys
    assert_same(layer, right, shape, other)
    assert check_model(layer, data(*shape)) == []


@pytest.mark.parametrize("size", [(6,), (4, 6)])
@pytest.mark.parametrize("affine", [True, False])
def test_subclasses_of_torchs_layer_need_no_input_where_they_tell_their_shape(size, affine):
    layer, right = OfTorch(size, 1e-3, affine).double(), nn.LayerNorm(size, 1e-3, affine).double()

    (certificate,) = repair(layer)

    assert certificate.accepted, certificate.reason
    assert repr(layer) == repr(right)
    assert_same(layer, right, (3, 5, *size), (2, *size))


class RowNorm(Hand):
    pass


class RowRMSNorm(HandRMS):
    pass


@pytest.mark.parametrize(
    ("layer", "cls"),
    [
        (lambda: RowNorm(-1, size=6), nn.LayerNorm),
        (lambda: RowRMSNorm(-1, size=6, names=["weight"]), nn.RMSNorm),
        (lambda: RowNorm((2, 3), size=6), nn.InstanceNorm2d),
        (lambda: RowNorm((1, 2, 3), size=6), nn.GroupNorm),
    ],
)
def test_without_inputs(layer, cls):
    layer = layer()
    assert repair(layer)[0].accepted
    assert type(layer) is cls


class Transformer(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.embed, self.norm1, self.mix = nn.Linear(3, 16), norm(), nn.Linear(16, 16)
        self.norm2, self.head = norm(), nn.Linear(16, 2)

    def forward(self, x):
        x = self.embed(x)
        x = x + self.mix(self.norm1(x)).tanh()
        return self.head(self.norm2(x))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("norm", "right"),
    [
        (lambda: Hand(-1, size=16), lambda: nn.LayerNorm(16, 1e-3)),
        (lambda: LayerLike(-1), lambda: nn.LayerNorm(16, 1e-3, elementwise_affine=False)),
        (lambda: LlamaRMS(-1, size=16, names=["weight"]), lambda: nn.RMSNorm(16, 1e-3)),
        (lambda: HandRMS(-1), lambda: nn.RMSNorm(16, 1e-3, elementwise_affine=False)),
    ],
)
@pytest.mark.parametrize("length", [5, 16])
def test_a_model_of_tokens_trains_as_the_right_one(norm, right, dtype, length):
    ours, theirs = Transformer(norm).to(dtype), Transformer(right).to(dtype)
    theirs.load_state_dict(ours.state_dict())

    certificates = repair(ours, data(2, length, 3, dtype=dtype))

    assert [(c.module, c.accepted) for c in certificates] == [("norm1", True), ("norm2", True)]
    assert {p.dtype for p in ours.parameters()} == {dtype}
    assert repr(ours) == repr(theirs)
    x = data(3, 7, 3, dtype=dtype)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), **TIGHT)


def test_a_model_of_images_trains_as_the_right_one():
    ours = nn.Sequential(nn.Conv2d(3, 4, 3), Hand((2, 3), size=4), nn.ReLU(), nn.Conv2d(4, 2, 3), Hand((2, 3)))
    theirs = copy.deepcopy(ours)
    theirs[1], theirs[4] = nn.InstanceNorm2d(4, 1e-3, affine=True), nn.InstanceNorm2d(2, 1e-3)
    theirs.load_state_dict(ours.state_dict())
    fired = []
    ours[1].register_forward_hook(lambda *_: fired.append("after"))
    ours.double(), theirs.double()

    certificates = repair(ours, data(2, 3, 11, 9))

    assert [c.accepted for c in certificates] == [True, True]
    fired.clear()
    torch.testing.assert_close(gradients(ours, data(3, 3, 12, 8)), gradients(theirs, data(3, 3, 12, 8)), **TIGHT)
    assert fired == ["after"]


# -- refused


class EpsOutside(Hand):
    def normalized(self, x):
        mean, std = x.mean(-1, keepdim=True).detach(), x.std(-1, correction=0, keepdim=True).detach()
        return (x - mean) / (std + self.eps)


class UnbiasedByHand(Hand):
    def normalized(self, x):
        centered = x - x.mean(-1, keepdim=True).detach()
        return centered / ((centered**2).sum(-1, keepdim=True).detach() / (x.shape[-1] - 1) + self.eps).sqrt()


class AroundOne(HandRMS):
    def forward(self, x):
        return self.normalized(x) * (1 + self.weight)


class NormOfRow(HandRMS):
    def normalized(self, x):
        return x / (x.norm(dim=-1, keepdim=True).detach() * x.shape[-1] ** -0.5 + self.eps)


class Stateful(Hand):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.register_buffer("running_mean", torch.zeros(6))

    def forward(self, x):
        self.running_mean += x.mean().detach()
        return super().forward(x)


class Two(Hand):
    def forward(self, x):
        return super().forward(x), x.sum()


class OnlyInTraining(Hand):
    def normalized(self, x):
        return super().normalized(x) if self.training else x


class AnyLength(Hand):
    """Weightless over the last dimension: a layer norm of tokens or an instance norm of signals."""


NOT_NATIVE = {
    "unbiased": (lambda: Hand(-1, size=6, unbiased=1), (3, 5, 6), "unbiased variance"),
    "unbiased instance": (lambda: Hand((2, 3), size=4, unbiased=1), (3, 4, 5, 6), "unbiased variance"),
    "unbiased by hand": (lambda: UnbiasedByHand(-1, size=6), (3, 5, 6), "outputs"),
    "eps outside of the root": (lambda: EpsOutside(-1, size=6), (3, 5, 6), "outputs"),
    "no eps": (lambda: Hand(-1, size=6, eps=0), (3, 5, 6), "no eps"),
    "a weight around one": (lambda: AroundOne(-1, size=6, names=["weight"]), (3, 5, 6), "shifts"),
    "RMS with a bias": (lambda: HandRMS(-1, size=6), (3, 5, 6), "RMSNorm does not"),
    "length of a row": (lambda: NormOfRow(-1, size=6, names=["weight"]), (3, 5, 6), "mean of squares"),
    "own state": (lambda: Stateful(-1, size=6), (3, 5, 6), "state of its own: `running_mean`"),
    "two outputs": (lambda: Two(-1, size=6), (3, 5, 6), "more than the normalized"),
    "two groups of a signal": (lambda: Groups((2,), size=4), (3, 4, 10), "outputs|own"),
    "a row in training only": (lambda: OnlyInTraining(-1, size=6), (3, 5, 6), "eval mode"),
    "positions of an image": (lambda: Hand(1, size=4), (3, 4, 5, 6), r"dimensions \[1\]"),
    "RMS of the channels of an image": (lambda: HandRMS(1, size=4, names=["weight"]), (3, 4, 5, 6), "no normalization"),
    "a weight of another shape": (lambda: Hand(-1, size=(1, 6)), (3, 5, 6), "not shaped"),
    "a size that nothing tells": (lambda: HandRMS((-2, -1)), (3, 5, 6), "nothing tells for which size"),
    "a kind that nothing tells": (lambda: AnyLength(-1), (3, 5, 6), "InstanceNorm or LayerNorm"),
}


@pytest.mark.parametrize("name", NOT_NATIVE)
def test_what_torchs_layers_do_not_stand_for_is_not_native(name):
    make, shape, reason = NOT_NATIVE[name]
    layer = make()

    (certificate,) = repair(layer, data(*shape, dtype=torch.float32), inplace=False, adopt_torch_conventions=True)

    assert certificate.rung == "unstop" and re.search(reason, certificate.reason), certificate.reason


def test_the_size_of_a_row_without_parameters_is_told_by_a_real_input_alone():
    shape = (4, 6, 3)
    assert family_of(LayerLike(-1), shape, (2,), centers=True, real=True).name == "LayerNorm"
    with pytest.raises(RepairError, match="nothing tells"):
        family_of(HandRMS(-1), shape, (2,), centers=False, real=False)


def test_no_two_families_have_one_name():
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


# -- builders that are wrong: the certificate stands between them and the model


def no_second_rung(*_):
    raise RepairError("not tried")


def other_eps(built):
    built.eps *= 1.5


def swapped_parameters(built):
    built.weight, built.bias = built.bias, built.weight


def frozen_statistics(built):
    forward = type(built).forward

    class Stopped(type(built)):
        def forward(self, x):
            return forward(self, x) + (x - x.detach()).mean(-1, keepdim=True)

    built.__class__ = Stopped


def copied_weight(built):
    built.weight = nn.Parameter(built.weight.detach().clone())


@pytest.mark.parametrize("wrong", [other_eps, swapped_parameters, frozen_statistics, copied_weight])
@pytest.mark.parametrize("dims", [-1, (2, 3)])
def test_a_wrong_builder_is_refused_by_the_certificate(monkeypatch, wrong, dims):
    build = native.build

    def planted(*args):
        built = build(*args)
        wrong(built)
        return built

    monkeypatch.setattr("bnlint.repairs.candidates.build", planted)
    monkeypatch.setattr("bnlint.repairs.apply.unstopped_candidate", no_second_rung)
    layer = Hand(dims, size=4)
    nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)

    (certificate,) = repair(layer, data(3, 4, 5, 4, dtype=torch.float32))

    assert not certificate.accepted and certificate.reason
    assert type(layer) is Hand
