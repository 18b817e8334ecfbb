import copy
import random

import numpy as np
import pytest
import torch
import torch.distributed as dist
from legitimate import LEGITIMATE, STOPPED, normal
from stops import KINDS, LIVE, StoppedNorm, batch, net, stop_lines
from torch import nn

from bnlint.errors import CaptureWarning, InputError
from bnlint.finding import Severity
from bnlint.model.check import check_layers, check_model, require_measured
from bnlint.model.layers import find_layers
from bnlint.model.verdict import findings_of

pytestmark = pytest.mark.filterwarnings("ignore")

# Here the numbers leave the graph where no operation is recorded, so only the measurement can tell.
UNSEEN = {
    "numpy_statistics",
    "silent_function",
    "copy_no_grad",
    "copy_data",
    "zeroing_hook",
}
CODES = {
    "BN101": {"dictionary", "detach", "detach_in_place", "data", "variable", "numpy_round_trip", "script"},
    "BN102": {
        "no_grad",
        "no_grad_decorator",
        "inference_mode",
        "inference_mode_clone",
        "inference_mode_mean",
        "set_grad_enabled",
    },
    "BN103": {"detached_input"},
    "BN104": {"item_per_channel", "item", "python_float", "tolist", "numpy_force", "torch_tensor", "new_tensor"},
    "BN106": {"running_buffer"},
    "BN107": {"dlpack_round_trip", *UNSEEN},
}


@pytest.fixture(scope="module", autouse=True)
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_every_kind_of_stop_has_an_expected_rule():
    assert set().union(*CODES.values()) == set(KINDS) - set(LIVE)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in LIVE])
def test_every_kind_of_stop_is_found_and_measured(kind):
    findings = check_model(net(kind), batch())

    assert {f.module.module for f in findings} == {"norm"}
    assert {f.module.class_name for f in findings} == {"StoppedNorm"}
    assert all(f.severity is Severity.ERROR for f in findings)
    assert all(f.measurement.error > 1e-2 and f.measurement.cosine < 1 - 1e-4 for f in findings)
    assert {f.code for f in findings} == {next(code for code, kinds in CODES.items() if kind in kinds)}
    if kind in UNSEEN:
        assert [f.statistic for f in findings] == [None]
    elif kind == "running_buffer":
        assert [f.statistic for f in findings] == ["running_mean", "running_var"]
    else:
        assert [f.statistic for f in findings] == (["mean"] if kind == "inference_mode_mean" else ["mean", "var"])


@pytest.mark.parametrize("kind", sorted({*KINDS} - {*LIVE, "dlpack_round_trip", "running_buffer"}))
def test_findings_point_at_the_line_of_the_stop(kind):
    findings = check_model(net(kind), batch())

    assert all(f.location.path.endswith("stops.py") for f in findings)
    lines = {f.location.line for f in findings}
    if kind == "numpy_round_trip":  # one line, two stops
        assert lines <= stop_lines(kind)
    elif kind in UNSEEN:  # one finding, and a mark for each suspect
        assert lines <= stop_lines(kind) == {m.location.line for f in findings for m in f.marks}
    else:
        assert lines == stop_lines(kind)
    roles = {"stop"} if kind in UNSEEN else {"statistic", "stop", "use"}
    assert all({m.role for m in f.marks} >= roles for f in findings)


@pytest.mark.parametrize("kind", [kind for kind in LIVE if kind != "all_reduce"])
def test_live_norms_are_silent(kind):
    assert check_model(net(kind), batch()) == []


def test_a_collective_in_place_is_reported_by_structure_where_one_process_measures_nothing():
    findings = check_model(net("all_reduce"), batch())

    assert [(f.code, f.statistic, f.measurement) for f in findings] == [("BN105", "mean", None), ("BN105", "var", None)]
    assert all("cannot be measured in one process" in f.message for f in findings)


@pytest.mark.parametrize("kind", ["detach", "no_grad", "copy_data"])
def test_layers_are_found_without_inputs_by_their_parameters(kind):
    findings = check_model(net(kind))

    assert {f.module.module for f in findings} == {"norm"}
    assert check_model(net("live")) == []


@pytest.mark.parametrize("name", LEGITIMATE)
def test_legitimate_stops_are_silent(name):
    make, shape = LEGITIMATE[name]

    checked = list(check_layers(find_layers(make().double(), (normal(*shape),))))

    assert [f for item in checked for f in findings_of(item)] == []
    assert [item.problem for item in checked if item.problem] == []


@pytest.mark.parametrize("case", STOPPED, ids=" ".join)
def test_stopped_statistics_are_told_apart(case):
    make, shape, names = STOPPED[case]

    findings = check_model(make().double(), normal(*shape))

    assert tuple(f.statistic for f in findings) == names
    assert {f.module.module for f in findings} == {"norm"}
    assert all(f.measurement.error > 1e-2 for f in findings)
    for f in findings:
        assert tuple(name for name, flows in f.measurement.flows if not flows) == names


@pytest.mark.parametrize(("kind", "exact"), [("detach", True), ("item", False)])
def test_an_estimated_error_is_told_as_one(kind, exact):
    finding = check_model(net(kind), batch())[0]
    assert finding.measurement.exact is exact
    assert ("error about" in finding.message) is not exact


def test_a_closed_residual_branch_hides_no_stop():
    model = net("detach")
    nn.init.zeros_(model.norm.weight)

    assert [f.statistic for f in check_model(model, batch())] == ["mean", "var"]
    assert not model.norm.weight.any()


def test_the_root_itself_may_be_the_layer():
    findings = check_model(StoppedNorm(4, "detach"), torch.randn(4, 4, 5, 5))

    assert [(f.module.module, f.statistic) for f in findings] == [("", "mean"), ("", "var")]
    assert all(f.message.startswith("layer (the model itself)") for f in findings)


def test_a_shared_layer_is_told_once():
    norm = StoppedNorm(4, "detach")
    model = nn.Sequential(nn.Conv2d(3, 4, 1), norm, nn.Conv2d(4, 4, 1), norm)

    assert [(f.module.module, f.statistic) for f in check_model(model, batch())] == [("1", "mean"), ("1", "var")]


def test_normalization_written_inside_a_block_is_found():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            h = self.conv(x)
            mean = h.mean((0, 2, 3), keepdim=True).detach()
            return torch.relu((h - mean) / (h.var((0, 2, 3), keepdim=True) + 1e-5).sqrt())

    findings = check_model(nn.Sequential(Block(), nn.Conv2d(4, 2, 1)), batch())

    assert [(f.module.module, f.module.class_name, f.statistic) for f in findings] == [("0", "Block", "mean")]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("inputs", [(batch(),), ()])
def test_the_model_is_left_exactly_as_found(training, inputs):
    model = net("running_buffer").train(training)
    model.conv2.train(not training)
    model.conv1.weight.requires_grad_(False)
    calls = []
    model.norm.register_forward_hook(lambda *_: calls.append("forward"))
    model.norm.register_full_backward_hook(lambda *_: calls.append("backward"))
    model(batch()).sum().backward()
    model.norm.running_mean.add_(3.0)
    calls.clear()
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)

    def state():
        tensors = [*model.state_dict(keep_vars=True).items()]
        return {
            "objects": [(name, id(t)) for name, t in tensors],
            "bits": [(name, t.detach().numpy().tobytes()) for name, t in tensors],
            "gradients": [
                (n, None if p.grad is None else p.grad.numpy().tobytes()) for n, p in model.named_parameters()
            ],
            "requires_grad": [p.requires_grad for p in model.parameters()],
            "training": [m.training for m in model.modules()],
            "hooks": [(list(m._forward_hooks), list(m._backward_hooks)) for m in model.modules()],
            "attributes": [(name, sorted(vars(m))) for name, m in model.named_modules()],
            "random": (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()),
            "modes": (torch.is_grad_enabled(), torch.get_default_dtype()),
        }

    before = state()
    assert check_model(model, *inputs)
    assert state() == before
    if not inputs:
        assert calls == []  # each layer is probed as a copy without the user's hooks


def test_inputs_are_left_as_found():
    x = batch().requires_grad_()
    values = x.detach().clone()

    check_model(net("detach"), x)

    assert torch.equal(x.detach(), values)
    assert x.grad is None and x.is_leaf and x.requires_grad


def test_a_model_that_cannot_run_says_where():
    with pytest.raises(InputError, match="conv1"):
        check_model(net("detach"), torch.randn(2, 5, 8, 8))


def test_one_unmeasured_layer_does_not_stop_the_others():
    class FailingNorm(StoppedNorm):
        def forward(self, x):
            raise ValueError("no")

    checked = list(check_layers(find_layers(nn.ModuleList([FailingNorm(4, "live"), StoppedNorm(4, "detach")]))))

    assert [bool(item.problem) for item in checked] == [True, False]
    assert "ValueError: no" in checked[0].problem
    require_measured(checked)
    with pytest.raises(InputError, match="none of 1 normalization layers"):
        require_measured(checked[:1])


# -- models of torchvision and timm, none of them written with bnlint in mind


class TwinBatchNorm(nn.Module):
    def __init__(self, native, stop):
        super().__init__()
        self.stop, self.eps, self.momentum = stop, native.eps, native.momentum
        self.weight, self.bias = native.weight, native.bias
        self.register_buffer("running_mean", native.running_mean)
        self.register_buffer("running_var", native.running_var)

    def forward(self, x):
        mean, var = self.running_mean, self.running_var
        if self.training:
            mean, var = x.mean([0, 2, 3]), x.var([0, 2, 3], unbiased=False)
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(var.detach(), self.momentum)
            if self.stop:
                mean, var = mean.detach(), var.detach()
        mean, var, weight, bias = (t[None, :, None, None] for t in (mean, var, self.weight, self.bias))
        return (x - mean) / torch.sqrt(var + self.eps) * weight + bias


class TwinLayerNorm(nn.Module):
    def __init__(self, native, stop):
        super().__init__()
        self.stop, self.eps, self.weight, self.bias = stop, native.eps, native.weight, native.bias
        self.channels_second = "2d" in type(native).__name__.lower()

    def forward(self, x):
        x = x.permute(0, 2, 3, 1) if self.channels_second else x
        mean = x.mean(-1, keepdim=True)
        var = ((x - mean) ** 2).mean(-1, keepdim=True)
        if self.stop:
            mean, var = mean.detach(), var.detach()
        out = (x - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias
        return out.permute(0, 3, 1, 2) if self.channels_second else out


def swap(module, stop):
    """Swap every native norm for its twin; return how many there were."""
    count = 0
    for name, child in list(module.named_children()):
        twin = None
        if isinstance(child, nn.BatchNorm2d):
            twin = TwinBatchNorm(child, stop)
            if hasattr(child, "act"):  # timm's BatchNormAct2d
                twin = nn.Sequential(twin, child.drop, child.act)
        elif isinstance(child, nn.LayerNorm):
            twin = TwinLayerNorm(child, stop)
        if twin is None:
            count += swap(child, stop)
        else:
            setattr(module, name, twin)
            count += 1
    return count


def torchvision_model(name, **options):
    models = pytest.importorskip("torchvision").models
    return models.VisionTransformer(**options) if name == "vit" else getattr(models, name)(num_classes=5, **options)


def timm_model(name, **options):
    return pytest.importorskip("timm").create_model(name, num_classes=5, **options)


SMALL_VIT = {"image_size": 32, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32}
ZOO = {
    "resnet18": (lambda: torchvision_model("resnet18"), 32),
    "mobilenet_v3_small": (lambda: torchvision_model("mobilenet_v3_small"), 64),
    "convnext_tiny": (lambda: torchvision_model("convnext_tiny"), 32),
    "vit": (lambda: torchvision_model("vit", **SMALL_VIT), 32),
    "timm resnet10t": (lambda: timm_model("resnet10t"), 32),
    "timm vit_tiny": (lambda: timm_model("vit_tiny_patch16_224", img_size=32, depth=2), 32),
    "timm convnext_atto": (lambda: timm_model("convnext_atto"), 32),
}


def wrong_modules(model, size):
    checked = list(check_layers(find_layers(model, (torch.randn(2, 3, size, size),))))
    assert [item.problem for item in checked if item.problem] == []
    return [item for item in checked if list(findings_of(item))]


@pytest.mark.parametrize("name", ZOO)
def test_models_of_others_native_live_and_stopped(name):
    make, size = ZOO[name]
    native = make()
    live, stopped = copy.deepcopy(native), copy.deepcopy(native)
    count = swap(live, stop=False)
    assert swap(stopped, stop=True) == count > 0

    assert wrong_modules(native, size) == []
    assert wrong_modules(live, size) == []
    wrong = wrong_modules(stopped, size)
    twins = {n for n, m in stopped.named_modules() if isinstance(m, (TwinBatchNorm, TwinLayerNorm))}
    assert {item.layer.path for item in wrong} == twins
    assert len(twins) == count
    for item in wrong:
        assert [f.statistic for f in findings_of(item)] == ["mean", "var"]


class Threaded(nn.Module):
    """Works in another thread, where no recorder sees it."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: x.cos() * self.scale).result() + x


def test_a_capture_that_is_not_faithful_is_said():
    with pytest.warns(CaptureWarning, match="not faithful"):
        assert check_model(Threaded(), torch.randn(2, 3)) == []
