"""The second rung: layers that stay as they are written, without the stops of their statistics."""

import copy
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from test_families import NOT_NATIVE, data
from torch import nn
from unlike_torch import UNLIKE_TORCH
from variants import HandNorm, batch, gradients

from bnlint.checkpoint.formats import load
from bnlint.checkpoint.trust import Trust
from bnlint.layers import UnstoppedNorm
from bnlint.model.check import check_model
from bnlint.repairs.apply import repair

TIGHT = {"rtol": 1e-9, "atol": 1e-9}


@contextmanager
def by_hand():
    """What an author would do: no `.detach()` in the layer."""
    detach = torch.Tensor.detach
    torch.Tensor.detach = lambda self: self
    try:
        yield
    finally:
        torch.Tensor.detach = detach


def gradients_of(layer, *inputs):
    """Outputs, and gradients of the inputs and of the parameters, for one fixed cotangent on the first output."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = layer(*leaves)
    first = out[0] if isinstance(out, tuple) else out
    cotangent = torch.randn(first.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(first)
    named = [p for p in layer.parameters() if p.requires_grad]
    found = torch.autograd.grad(first, [*leaves, *named], cotangent, allow_unused=True)
    return out, found


def assert_corrected(layer, original, *shapes, modes):
    """A repaired layer is the original one with its stops taken out by hand, in outputs, gradients and buffers."""
    for flag in modes:
        for seed, shape in enumerate(shapes):
            x = data(*shape, seed=seed)
            right = copy.deepcopy(original).train(flag)
            ours = copy.deepcopy(layer).train(flag)
            with by_hand():
                expected = gradients_of(right, x)
            torch.testing.assert_close(gradients_of(ours, x), expected, **TIGHT)
            torch.testing.assert_close(dict(ours.named_buffers()), dict(right.named_buffers()), **TIGHT)


LAYERS = {name: (make, (4, 4, 5, 3), (7, 4, 6, 8)) for name, (make, _) in UNLIKE_TORCH.items()}
LAYERS |= {f"of {name}": (make, shape, (shape[0] + 3, *shape[1:])) for name, (make, shape, _) in NOT_NATIVE.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_an_unstopped_layer_is_the_layer_without_its_stops(name):
    make, shape, other = LAYERS[name]
    layer = make().double()
    original, named, keys = copy.deepcopy(layer), list(layer.named_parameters()), list(layer.state_dict())

    (certificate,) = repair(layer, data(*shape))

    assert (certificate.rung, certificate.class_after) == ("unstop", "UnstoppedNorm")
    assert certificate.accepted and len({found for found in certificate.shapes if len(found) == len(shape)}) == 3
    assert certificate.gradient_error_before > 1e-2
    assert type(layer) is UnstoppedNorm and list(layer.state_dict()) == keys
    assert all(a == b and p is q for (a, p), (b, q) in zip(named, layer.named_parameters(), strict=True))
    # By hand, a layer that updates in eval mode would also lose the stop in front of its buffer.
    assert_corrected(layer, original, shape, other, modes=[True] if "updates in eval" in name else [True, False])
    assert check_model(layer, data(*shape)) == []


class Fused(HandNorm):
    """Everything that torch's layer does not do, at once."""

    def __init__(self, **options):
        super().__init__(**options)
        self.act = nn.LeakyReLU(0.1)
        self.register_buffer("calls", torch.tensor(0), persistent=False)

    def forward(self, x, residual=None, *, scale=1.0):
        self.calls += 1
        out = super().forward(x) * scale
        out = out if residual is None else out + residual
        if x.shape[0] > 100:
            return out
        return self.act(out), {"size": x.shape[0], "mean": x.mean((0, 2, 3)).detach()}


class Net(nn.Module):
    def __init__(self, norm, **options):
        super().__init__()
        self.conv, self.norm, self.options = nn.Conv2d(4, 4, 1), norm, options

    def forward(self, x):
        h = self.conv(x)
        return self.norm(h, h.tanh(), **self.options)[0]


def fused_nets(**options):
    ours = Net(Fused(updates="biased"), **options)
    theirs = Net(Fused(updates="biased", stop=False), **options)
    theirs.load_state_dict(ours.state_dict())
    return ours.double(), theirs.double()


@pytest.mark.parametrize("options", [{}, {"scale": 2.0}])
def test_a_layer_that_does_more_goes_on_doing_it(options):
    ours, theirs = fused_nets(**options)

    (certificate,) = repair(ours, batch())

    assert (certificate.module, certificate.rung) == ("norm", "unstop"), certificate.reason
    for training in (True, True, False):
        x = batch(seed=5)[:3]
        torch.testing.assert_close(gradients(ours.train(training), x), gradients(theirs.train(training), x), **TIGHT)
        torch.testing.assert_close(dict(ours.named_buffers()), dict(theirs.named_buffers()), **TIGHT)
    out, extra = ours.norm(x, x, **options)
    assert extra["size"] == 3 and not extra["mean"].requires_grad and out.requires_grad


class TwoMoments(nn.Module):
    """Its variance is made of two stopped statistics, of which one centers the input as well."""

    def __init__(self, stop):
        super().__init__()
        self.weight, self.stop = nn.Parameter(torch.linspace(0.5, 2, 4).reshape(1, 4, 1, 1)), stop

    def forward(self, x):
        mean, square = x.mean((0, 2, 3), keepdim=True), (x * x).mean((0, 2, 3), keepdim=True)
        if self.stop:
            mean, square = mean.detach(), square.detach()
        return ((x - mean) / (square - mean * mean + 1e-5).sqrt() * self.weight).relu()


def test_a_mean_that_is_a_part_of_the_variance_too_is_opened_on_both_ways():
    ours, theirs = nn.Sequential(TwoMoments(True)).double(), nn.Sequential(TwoMoments(False)).double()

    (certificate,) = repair(ours, batch())

    assert certificate.rung == "unstop", certificate.reason
    x = batch(seed=5)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), **TIGHT)


def test_what_was_not_proved_is_not_done():
    ours, _ = fused_nets()
    repair(ours, batch())
    x = batch()

    with pytest.raises(TypeError, match="Fused was repaired for calls with x, residual and nothing else"):
        ours.norm(x)
    with pytest.raises(TypeError, match="nothing else"):
        ours.norm(x, x, scale=3.0)
    with pytest.raises(TypeError, match="nothing else"):
        ours.norm(x, x, other=1)
    with pytest.raises(RuntimeError, match="dimensions"):
        ours.norm(x[0], x[0])
    with pytest.raises(RuntimeError, match="not repaired for an input of this size"):
        ours.norm(x.repeat(50, 1, 1, 1), x.repeat(50, 1, 1, 1))


def test_it_is_saved_and_loaded_without_the_code_of_the_layer(tmp_path):
    ours, _ = fused_nets()
    repair(ours, batch())
    path = tmp_path / "norm.pt"
    torch.save({"model": ours.norm}, path)

    loaded = load(path, Trust(), map_location="cpu").content["model"]

    x = batch(seed=8)
    torch.testing.assert_close(loaded(x, x), ours.norm(x, x))
    assert repr(loaded).startswith("UnstoppedNorm(\n  Fused")
    assert list(loaded.state_dict()) == list(ours.norm.state_dict())


def test_no_program_can_run_anything_but_operations_on_tensors():
    layer = UnstoppedNorm()
    for name in ("torch.load", "method.__reduce__", "method.numpy", "torch.hub.load", "number.methodcaller"):
        vars(layer).update(stands_for="Evil", arguments=[("x", None)])
        layer.programs = {"train": ([1], [(name, ["file.pt"], {}, True)], [], None)}
        with pytest.raises(RuntimeError, match="no operation"):
            layer(torch.zeros(3))
    layer.programs = {"train": ([1], [("torch.zeros", [[3], ("dtype", "load")], {}, True)], [], None)}
    with pytest.raises(RuntimeError, match="no dtype"):
        layer(torch.zeros(3))


def test_it_compiles_as_one_graph():
    layer = HandNorm(unbiased=True).double()
    layer.__class__ = type("Activated", (HandNorm,), {"forward": lambda self, x: F.gelu(HandNorm.forward(self, x))})
    repair(layer, batch())
    assert type(layer) is UnstoppedNorm
    twin = copy.deepcopy(layer)

    compiled = torch.compile(layer, backend="eager", fullgraph=True)

    torch.testing.assert_close(compiled(batch(seed=3)), twin(batch(seed=3)))
    torch.testing.assert_close(layer.running_mean, twin.running_mean)


class Cast(HandNorm):
    """Takes its statistics in float32, and gives back the type that it got."""

    def forward(self, x):
        return torch.tanh(super().forward(x.float()).to(x.dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_follow_the_input(dtype):
    layer, right = Cast(), Cast(stop=False)
    right.load_state_dict(layer.state_dict())

    assert repair(layer, batch(dtype=torch.float32))[0].rung == "unstop"

    x = batch(seed=4, dtype=dtype)
    assert layer(x).dtype is dtype
    torch.testing.assert_close(layer(x), right(x))
    assert layer.running_mean.dtype is torch.float32


class Masked(nn.Module):
    """Its first argument is no number, and its type is not that of the input."""

    def __init__(self, stop=True):
        super().__init__()
        self.stop = stop

    def forward(self, mask, x):
        mean, var = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)
        mean, var = (mean.detach(), var.detach()) if self.stop else (mean, var)
        return torch.where(mask, (x - mean) * torch.rsqrt(var.to(x.dtype) + 1e-3), x)


def test_the_type_of_the_input_is_that_of_its_numbers():
    class MaskedNorm(Masked):
        weight = None

    layer, mask, x = nn.ModuleList([MaskedNorm()])[0], torch.rand(6, 8) > 0.3, torch.randn(6, 8)
    assert repair(layer, mask, x)[0].rung == "unstop"

    torch.testing.assert_close(layer(mask, x.bfloat16()), Masked(stop=False)(mask, x.bfloat16()))


class Careful(HandNorm):
    """Collects its statistics in the type of its buffers, and gives back the type that it got."""

    def update(self, mean, var, count):
        self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), 0.1)
        self.running_var.lerp_(var.detach().to(dtype=self.running_var.dtype), 0.1)

    def forward(self, x):
        return super().forward(x).sigmoid().to(x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_types_follow_the_layer_where_they_are_the_layers(dtype):
    layer, right = Careful(), Careful(stop=False)
    right.load_state_dict(layer.state_dict())

    assert repair(layer, batch(dtype=torch.float32))[0].rung == "unstop"

    for training in (True, False):
        x = batch(seed=4, dtype=dtype)
        ours, theirs = layer.train(training)(x), right.train(training)(x)
        assert ours.dtype is dtype
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(dict(layer.named_buffers()), dict(right.named_buffers()))
    assert layer.running_mean.dtype is torch.float32


def test_hooks_attributes_and_flags_survive():
    layer = Cast().eval()
    layer.width, layer.helper = 4, nn.functional.relu
    fired = []
    layer.register_forward_hook(lambda *_: fired.append("after"))
    layer.weight.requires_grad_(False)

    assert repair(layer, batch(dtype=torch.float32))[0].rung == "unstop"

    fired.clear()
    layer(batch(dtype=torch.float32))
    assert fired == ["after"] and layer.width == 4 and not hasattr(layer, "helper")
    assert not layer.training and not layer.weight.requires_grad and layer.bias.requires_grad


class Counting(HandNorm):
    """Keeps what it saw in a list."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.shape)
        return super().forward(x).tanh()


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class StraightThrough(HandNorm):
    """Its rounding has a gradient of its own on purpose."""

    def forward(self, x):
        return Rounded.apply(super().forward(x))


class OneSize(HandNorm):
    def forward(self, x):
        return super().forward(x.reshape(4, 4, 5, 3)).tanh()


class OwnPrecision(HandNorm):
    def __init__(self, enabled=False):
        super().__init__()
        self.enabled = enabled

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            return super().forward(x).tanh()


class OfferedPrecision(OwnPrecision):
    def __init__(self):
        super().__init__(enabled=True)


class UpcastsHalf(HandNorm):
    """Does something in one type alone, which is in no recording of another."""

    def forward(self, x):
        return super().forward(x.float() if x.dtype is torch.bfloat16 else x).tanh()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (UpcastsHalf, "something else in another precision"),
        (OwnPrecision, "turns autocast on or off"),
        (OfferedPrecision, "turns autocast on or off"),
        (Counting, "changes its attribute `seen`"),
        (StraightThrough, "backward of its own"),
        (OneSize, "one size alone"),
    ],
)
def test_what_cannot_be_rewritten_is_refused(make, reason):
    layer = make()
    (certificate,) = repair(layer, batch(dtype=torch.float32))
    assert not certificate.accepted and reason in certificate.reason, certificate.reason
    assert type(layer) is make
