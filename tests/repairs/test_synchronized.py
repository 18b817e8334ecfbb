"""Statistics that processes share: torch.nn.SyncBatchNorm, where it trains and does the very same."""

import pytest
import torch
import torch.distributed as dist
from torch import nn
from variants import SyncNorm

from bnlint.layers import UnstoppedNorm
from bnlint.repairs import synchronized
from bnlint.repairs.apply import repair
from bnlint.repairs.samples import call_of
from bnlint.repairs.together import Together, sizes
from bnlint.repairs.unstop import unstop

pytestmark = pytest.mark.filterwarnings("ignore")


def data(seed=1, dtype=torch.float32, n=4):
    return torch.randn(n, 3, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=dtype) * 1.5 + 0.5


@pytest.fixture
def anywhere(alone, monkeypatch):
    """Build torch's layer on a CPU too, where it is not to be had; it is not run there."""
    monkeypatch.setattr(synchronized, "DEVICES", frozenset({"cpu"}))


@pytest.mark.parametrize("stop", [False, True])
def test_a_layer_becomes_torchs_own_with_all_that_it_held(anywhere, stop):
    layer = SyncNorm(names=("bias", "weight"), stop=stop, group=dist.new_group([0]))
    layer.bias.requires_grad_(False)
    layer.register_forward_hook(lambda module, args, out: out * 2)
    hooks, group = dict(layer._forward_hooks), layer.group
    held, keys, plan = [*layer.parameters(), *layer.buffers()], list(layer.state_dict()), layer.weighs
    before = {name: value.clone() for name, value in layer.state_dict().items()}

    (certificate,) = repair(layer, data())

    assert type(layer) is nn.SyncBatchNorm and layer.process_group is group and layer.training
    assert (certificate.rung, certificate.class_after, certificate.reason) == ("native", "SyncBatchNorm", "")
    assert certificate.kept == certificate.adopted == ()
    assert all(ours is theirs for ours, theirs in zip([*layer.parameters(), *layer.buffers()], held, strict=True))
    assert list(layer.state_dict()) == keys and dict(layer._forward_hooks) == hooks and layer.weighs == plan
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert not layer.bias.requires_grad and layer.weight.requires_grad
    assert (layer.eps, layer.momentum, layer.num_features, layer.affine) == (1e-3, 0.25, 3, True)
    assert max(certificate.output_error, certificate.eval_error, certificate.buffer_error) < 1e-12
    assert certificate.gradient_error < 1e-12 and (certificate.gradient_error_before > 0.05) is stop


@pytest.mark.parametrize(
    "options",
    [{"momentum": None}, {"names": ()}, {"names": ("weight",)}, {"tracks": False, "counts": False, "eval_by": "own"}],
    ids=str,
)
def test_torchs_layer_does_alone_what_the_layer_does_alone(anywhere, options):
    layer, twin = SyncNorm(**options).double(), SyncNorm(**options).double()
    twin.load_state_dict(layer.state_dict())

    assert repair(layer, data(dtype=torch.float64))[0].rung == "native" and type(layer) is nn.SyncBatchNorm

    expected = [twin.train()(data(seed, torch.float64)) for seed in (2, 3)] + [twin.eval()(data(4, torch.float64))]
    dist.destroy_process_group()  # outside of a group torch's layer runs on a CPU
    found = [layer.train()(data(seed, torch.float64)) for seed in (2, 3)] + [layer.eval()(data(4, torch.float64))]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(dict(layer.state_dict()), dict(twin.state_dict()), rtol=1e-9, atol=1e-9)


def test_on_a_cpu_a_layer_keeps_its_own_operations_for_torchs_does_not_train_there(alone):
    layer = SyncNorm()

    (certificate,) = repair(layer, data())

    assert certificate.rung == "collective" and type(layer) is UnstoppedNorm
    assert certificate.reason == "it is on the cpu, where torch.nn.SyncBatchNorm does not train"
    layer(data())
    with pytest.raises(ValueError, match="to be on GPU"):
        nn.SyncBatchNorm(3)(data())


UNLIKE = {
    "treats the batches of all processes as one only where they have one size": {"weighs": "alike"},
    "normalizes by the unbiased variance": {"unbiased": True},
    "uses batch statistics in eval mode": {"eval_by": "own"},
    "collects the biased variance": {"corrects": "none"},
    "never updates its running statistics": {"corrects": "never"},
    "shapes its parameters like (1, C, 1, 1)": {"wide": True},
}


@pytest.mark.parametrize("said", UNLIKE)
def test_a_convention_that_torchs_layer_has_not_is_kept_unless_it_is_to_be_adopted(anywhere, said):
    layer = SyncNorm(**UNLIKE[said])
    (certificate,) = repair(layer, data(), inplace=False)
    assert (certificate.rung, certificate.class_after) == ("collective", "UnstoppedNorm")
    assert certificate.reason == f"unlike torch.nn.SyncBatchNorm, it {said}"

    parameters = list(layer.parameters())
    (certificate,) = repair(layer, data(), adopt_torch_conventions=True)

    assert (certificate.rung, certificate.adopted, certificate.reason) == ("native", (said,), "")
    assert certificate.stale is (said == "never updates its running statistics")
    moved = max(certificate.output_error, certificate.eval_error, certificate.buffer_error)
    assert (moved > 1e-4) is (said != "shapes its parameters like (1, C, 1, 1)")
    assert type(layer) is nn.SyncBatchNorm
    assert all(
        ours is theirs and ours.shape == (3,) for ours, theirs in zip(layer.parameters(), parameters, strict=True)
    )


REFUSED = {
    "a bias no gradient where there is no weight": {"names": ("bias",)},
    "counts batches in num_batches_tracked": {"counts": False},
    "in eval mode too": {"tracks": False, "counts": False, "eval_by": "shared"},
    "its outputs in eval mode differ": {"weighs": "alike", "corrects": "own"},
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_torchs_layer_cannot_do_stays_with_the_layers_own_operations(anywhere, reason):
    (certificate,) = repair(SyncNorm(**REFUSED[reason]), data(), adopt_torch_conventions=True)
    assert certificate.rung == "collective" and reason in certificate.reason


class Fixed(SyncNorm):
    """Knows the number of processes."""

    def statistics(self, x):
        if dist.get_world_size() != 1:
            raise RuntimeError("made for one process")
        return super().statistics(x)


class Metered(SyncNorm):
    """Shares a number that is only shown, and no statistic."""

    def statistics(self, x):
        dist.all_reduce(x.detach().abs().mean())
        mean, var, n = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False).detach(), x.numel() // x.size(1)
        return mean, var, n, n


class MeteredInstance(SyncNorm):
    """The same, of another normalization."""

    def forward(self, x):
        if self.training:
            dist.all_reduce(x.detach().abs().mean())
        mean, var = x.mean((2, 3), keepdim=True).detach(), x.var((2, 3), unbiased=False, keepdim=True).detach()
        return (x - mean) / (var + self.eps).sqrt() * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Sized(SyncNorm):
    """Does something else with large batches."""

    def statistics(self, x):
        return super().statistics(x[:500] if x.size(0) > 500 else x)


class _Sums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        mean, square = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
        dist.all_reduce(mean), dist.all_reduce(square)
        return mean / dist.get_world_size(), square / dist.get_world_size()

    @staticmethod
    def backward(ctx, *gradients):
        return None


class Hidden(SyncNorm):
    """Shares its statistics where no operation shows it, with a backward that stops them."""

    def statistics(self, x):
        (mean, square), n = _Sums.apply(x), x.numel() // x.size(1)
        return mean, square - mean * mean, n * dist.get_world_size(), n


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (Fixed, "on the number of processes"),
        (Sized, "on the size of its input"),
        (Metered, "not what one of torch's gives"),
        (lambda: MeteredInstance(tracks=False), "it is InstanceNorm"),
        (Hidden, "have one size"),
    ],
)
def test_what_is_no_batch_normalization_of_all_processes_is_not_taken_for_one(anywhere, layer, reason):
    (certificate,) = repair(layer(), data())
    assert certificate.class_after == "UnstoppedNorm" and reason in certificate.reason


def test_a_layer_that_shares_out_of_sight_never_becomes_one_that_does_not_share(alone):
    (certificate,) = repair(Hidden(), data())
    assert certificate.rung == "collective"


def whole_batch(layer, x):
    """Return what one process gives for the batch of all, and what it adds to the running statistics."""
    count = x.numel() / x.size(1)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
    out = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + layer.eps).sqrt()
    return out * layer.weight.view(1, -1, 1, 1) + layer.bias.view(1, -1, 1, 1), mean, var * count / (count - 1)


def test_processes_that_are_played_give_what_the_whole_batch_gives(alone):
    layer = SyncNorm().double()
    x = data(dtype=torch.float64, n=7)
    played = Together.of(unstop(layer, call_of(layer, None), held=False), (1, 2))
    leaves = [x.clone().requires_grad_() for _ in range(2)]

    found, (expected, mean, var) = played(leaves[0]), whole_batch(layer, leaves[1])

    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(layer.running_mean, 0.25 * mean)
    torch.testing.assert_close(layer.running_var, 0.75 + 0.25 * var)
    cotangent = torch.randn_like(x)
    ours, theirs = (
        torch.autograd.grad(out, leaf, cotangent) for out, leaf in zip((found, expected), leaves, strict=True)
    )
    torch.testing.assert_close(ours, theirs)


def test_processes_that_are_played_average_where_the_layer_does():
    shared = UnstoppedNorm()
    steps = [("method.mean", [("value", 0)], {}, True), ("all_reduced", [("value", 1), True], {}, True)]
    shared.arguments = [("x", None)]
    shared.programs = {
        "train": ([1], [*steps, ("method.mul", [("value", 0), ("value", 2)], {}, True)], [], ("value", 3))
    }
    x = torch.tensor([2.0, 4.0, 6.0])
    torch.testing.assert_close(Together.of(shared, (1, 2))(x), x * (2.0 + 5.0) / 2)


def test_parts_of_a_batch_are_as_their_shares():
    assert sizes(12, (1, 2, 3)) == [2, 4, 6]
    assert sizes(7, (1, 1)) in ([3, 4], [4, 3])
    assert sizes(5, (1,)) == [5]
