import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from legitimate import BatchNorm, LlamaRMS, Norm
from stops import StoppedNorm
from torch import nn

from bnlint.errors import InputError
from bnlint.model.lift import Lifted
from bnlint.model.measure import measure
from bnlint.model.probe import Probe, compare

pytestmark = pytest.mark.filterwarnings("ignore")

EXACT = ["detach", "dictionary", "data", "no_grad", "inference_mode", "inference_mode_mean", "detached_input"]
ESTIMATED = ["item_per_channel", "tolist", "numpy_round_trip", "torch_tensor", "silent_function", "zeroing_hook"]


def stopped_layer(kind):
    layer = StoppedNorm(4, kind, eps=0.1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.5, -2.0, 1.0]))
    return layer


def probe_of(layer):
    with Lifted():
        return Probe(layer, None)


def native_gradient(layer, x, cotangent):
    """Torch's own kernel, whose backward nobody wrote by hand here."""
    leaf = x.clone().requires_grad_()
    out = F.batch_norm(leaf, None, None, layer.weight, layer.bias, training=True, eps=layer.eps)
    return torch.autograd.grad(out, leaf, cotangent)[0].detach()


def seen_gradient(layer, x, cotangent):
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(layer(leaf), leaf, cotangent)[0]


@pytest.mark.parametrize("kind", EXACT)
def test_error_and_cosine_are_those_against_the_native_layer(kind):
    layer = stopped_layer(kind)
    probe = probe_of(layer)
    true = native_gradient(layer, probe.x, probe.cotangents[0])
    seen = seen_gradient(layer, probe.x, probe.cotangents[0])

    measured = measure(layer)

    assert measured.exact and measured.wrong
    assert measured.error == pytest.approx(float((seen - true).norm() / true.norm()), rel=1e-9)
    assert measured.cosine == pytest.approx(float(F.cosine_similarity(seen.flatten(), true.flatten(), 0)), rel=1e-9)


@pytest.mark.parametrize("kind", ESTIMATED)
def test_where_no_graph_can_do_without_the_stop_the_error_is_estimated(kind):
    assert_estimated(stopped_layer(kind))


def test_an_operation_without_a_gradient_for_its_statistics_is_measured_too():
    class Given(StoppedNorm):
        def forward(self, x):
            mean, var = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False).detach()
            return F.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)

    assert_estimated(Given(4, "live", eps=0.1).double())


def assert_estimated(layer):
    probe = probe_of(layer)
    true = native_gradient(layer, probe.x, probe.cotangents[0])
    seen = seen_gradient(layer, probe.x, probe.cotangents[0])

    measured = measure(layer)

    assert measured.wrong and not measured.exact
    assert measured.error == pytest.approx(float((seen - true).norm() / true.norm()), rel=0.4)
    assert measured.cosine == pytest.approx(float(F.cosine_similarity(seen.flatten(), true.flatten(), 0)), abs=0.05)


@pytest.mark.parametrize("stop", ["mean", "var", "both"])
def test_the_truth_is_that_of_the_dense_jacobian_of_the_corrected_layer(stop):
    layer, corrected = Norm("ln", 5, stop).double(), Norm("ln", 5).double()
    corrected.load_state_dict(layer.state_dict())
    call = ((torch.randn(3, 5, dtype=torch.float64),), {})
    with Lifted():
        probe = Probe(layer, call)
    jacobian = torch.autograd.functional.jacobian(corrected, probe.x)
    true = torch.einsum("ij,ijkl->kl", probe.cotangents[0], jacobian)
    seen = torch.einsum("ij,ijkl->kl", probe.cotangents[0], torch.autograd.functional.jacobian(layer, probe.x))

    measured = measure(layer, call)

    assert measured.exact
    assert measured.error == pytest.approx(float((seen - true).norm() / true.norm()), rel=1e-9)
    stopped = [s.name for site in measured.sites for s in site.statistics if measured.stopped(s)]
    assert stopped == {"mean": ["mean"], "var": ["var"], "both": ["mean", "var"]}[stop]


def test_the_harm_of_each_statistic_is_that_of_its_stop_alone():
    layer = BatchNorm(4, "both").double()
    alone = {stop: BatchNorm(4, stop).double() for stop in ("mean", "var")}
    for other in alone.values():
        other.load_state_dict(layer.state_dict())
    probe = probe_of(layer)
    true = native_gradient(layer, probe.x, probe.cotangents[0])

    measured = measure(layer)

    names = {s.reduction: s.name for site in measured.sites for s in site.statistics}
    harm = {names[reduction]: value for reduction, value in measured.harm}
    for stop, other in alone.items():
        seen = seen_gradient(other, probe.x, probe.cotangents[0])
        assert harm[stop] == pytest.approx(float((seen - true).norm() / true.norm()), rel=1e-9)


def test_a_right_layer_has_no_error():
    measured = measure(stopped_layer("live"))

    assert not measured.wrong and measured.exact
    assert measured.disagreement < 1e-6
    assert measured.error < 1e-12 and measured.cosine == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_low_precision_inside_is_lifted(dtype):
    class Cast(LlamaRMS):
        def forward(self, h):
            h = h.to(dtype)
            var = h.pow(2).mean(-1, keepdim=True, dtype=dtype)
            var = var.detach() if self.stop else var
            return (self.weight.to(dtype) * h * torch.rsqrt(var + torch.full((1,), 1e-6))).type(dtype)

    call = ((torch.randn(4, 5, 12),), {})
    assert measure(Cast(), call).disagreement < 1e-6
    assert measure(Cast(stop=True), call).error > 1e-2


def test_lifting_ends_with_its_block():
    with pytest.raises(ValueError), Lifted():
        assert torch.zeros(1).dtype is torch.ones(1).float().dtype is torch.float64
        assert torch.zeros(1, dtype=torch.int64).dtype is torch.int64
        raise ValueError
    assert torch.zeros(1).dtype is torch.float32
    assert torch.zeros(1, dtype=torch.float64).float().dtype is torch.float32


def test_the_probe_has_unit_variance_and_the_shape_of_a_call():
    probe_x = probe_of(StoppedNorm(6, "detach")).x
    assert probe_x.shape[1] == 6 and probe_x.dtype is torch.float64
    assert float(probe_x.std()) == pytest.approx(1.0, abs=0.2)
    call = ((torch.zeros(32, 6, 50, 60),), {})
    assert measure(StoppedNorm(6, "detach"), call).shape == (4, 6, 4, 4)
    with Lifted():
        assert Probe(StoppedNorm(6, "detach"), call, shrink=False).x.shape == (32, 6, 50, 60)


def test_the_layer_is_not_touched():
    layer = StoppedNorm(4, "running_buffer").eval().requires_grad_(False)
    before = {name: value.clone() for name, value in layer.state_dict().items()}

    measure(layer)

    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    assert not layer.training and layer.weight.dtype is torch.float32
    assert layer.weight.grad is None and not layer.weight.requires_grad


def test_a_frozen_layer_is_measured_as_well():
    assert measure(stopped_layer("detach").requires_grad_(False)).wrong


def test_other_arguments_stay_as_the_layer_got_them():
    class Conditional(BatchNorm):
        def forward(self, x, scale, *, shift):
            assert float(scale.sum()) == 8.0
            return super().forward(x) * scale[None, :, None, None] + shift

    layer = Conditional(4, "var")
    call = ((torch.zeros(2, 4, 3, 3), torch.full((4,), 2.0)), {"shift": 1.5})

    assert measure(layer, call).wrong
    assert not measure(Conditional(4), call).wrong


def test_a_layer_without_a_known_shape_cannot_be_measured():
    with pytest.raises(InputError, match="do not tell the shape") as error:
        measure(nn.Tanh())
    assert "--input" in error.value.hint


def test_a_layer_that_gives_no_finite_numbers_cannot_be_measured():
    class Infinite(BatchNorm):
        def forward(self, x):
            return super().forward(x) / 0.0

    with pytest.raises(InputError, match="not finite"):
        measure(Infinite(4, "mean"))


def test_compare_on_known_vectors():
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert compare(a, b) == pytest.approx((1.25, 0.0))
    assert compare(2 * b, b) == pytest.approx((1.0, 1.0))
    assert compare(-b, b) == pytest.approx((2.0, -1.0))
    assert compare(0 * b, b) == pytest.approx((1.0, 0.0))
    assert compare(0 * b, 0 * b) == (0.0, 1.0)
    assert compare(b, 0 * b)[0] == float("inf")


def test_an_all_reduce_of_one_rank_is_right():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        assert not measure(StoppedNorm(4, "all_reduce")).wrong
    finally:
        dist.destroy_process_group()
