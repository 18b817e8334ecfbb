import copy
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from stops import KINDS, LIVE, batch, net
from torch import nn

from bnlint.errors import InputError
from bnlint.model.capture import capture
from bnlint.model.state import detached_copy, preserved

pytestmark = pytest.mark.filterwarnings("ignore")


class Meter:
    def __init__(self):
        self.count = 0
        self.history = []


class Messy(nn.Module):
    """Changes everything that a forward can change."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.weight = nn.Parameter(torch.ones(4))
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.norm = nn.BatchNorm2d(4).eval()
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("total", torch.zeros(4))
        self.plain = torch.zeros(4)
        self.stats = {"mean": self.mean, "nested": [torch.zeros(4)]}
        self.pair = (torch.zeros(4), 1)
        self.meter = Meter()
        self.initialized = False

    def forward(self, x):
        h = self.norm(self.conv(x))
        m = h.mean((0, 2, 3))
        self.mean.copy_(m)  # keeps the graph
        self.total = self.total + m  # another tensor
        self.plain.data.add_(1)
        self.stats["mean"] = m
        self.stats["nested"].append(m)
        self.stats["nested"][0].add_(1)
        self.pair[0].add_(1)
        self.meter.count += 1
        self.meter.history.append(1)
        self.new = m
        if not self.initialized:
            self.weight.data.copy_(m)
            self.frozen.data = torch.zeros(4)
            self.frozen.requires_grad_()
            self.initialized = True
        self.norm.train()
        self.register_forward_hook(lambda module, args, output: None)
        self.add_module("late", nn.ReLU())
        del self.conv._buffers["marker"]
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        noise = random.random() + np.random.rand() + torch.rand(())
        if x.shape[0] == 3:
            raise ValueError("three\nis too many")
        return h * noise.float() * self.weight[:, None, None]


def tensors(model):
    found = [*model.parameters(), *model.buffers()]
    if isinstance(model, Messy):
        found += [model.plain, model.stats["mean"], *model.stats["nested"], *model.pair[:1]]
    return found


def picture(model):
    """Everything about the model that must stay the same, by value and by identity."""
    hooks = [name for name, value in vars(model).items() if "hook" in name and isinstance(value, dict)]
    return {
        "values": [t.detach().clone() for t in tensors(model)],
        "identity": [(id(t), t._version, t.requires_grad, t.grad_fn, t.data_ptr()) for t in tensors(model)],
        "grads": [(id(t.grad), None if t.grad is None else t.grad.clone()) for t in model.parameters()],
        "state": OrderedDict((name, value.clone()) for name, value in model.state_dict().items()),
        "training": [(name, module.training) for name, module in model.named_modules()],
        "hooks": [
            {name: list(vars(module)[name]) for name in hooks if name in vars(module)} for module in model.modules()
        ],
        "attributes": [
            (list(vars(m)), list(m._buffers), list(m._modules), list(m._parameters)) for m in model.modules()
        ],
        "plain": copy.copy(vars(model.meter)) | {"history": list(model.meter.history)}
        if isinstance(model, Messy)
        else {},
        "random": (torch.get_rng_state(), random.getstate(), np.random.get_state()[1]),
        "modes": (torch.is_grad_enabled(), torch.get_default_dtype(), torch.is_inference_mode_enabled()),
    }


def assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert list(a) == list(b)
        a, b = list(a.values()), list(b.values())
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, np.ndarray):
        assert np.array_equal(a, b)
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def messy():
    torch.manual_seed(0)
    model = Messy()
    model.conv.register_buffer("marker", torch.zeros(1))
    model.register_forward_pre_hook(lambda module, args: None)
    model.weight.grad = torch.ones(4)
    return model


@pytest.mark.parametrize("size", [4, 3], ids=["success", "exception"])
def test_preserved_undoes_whatever_a_forward_does(size):
    model = messy()
    before = picture(model)
    try:
        with preserved(model):
            output = model(torch.randn(size, 3, 8, 8))
            with torch.enable_grad():
                (output.sum() + model.weight.sum()).backward()
    except ValueError:
        assert size == 3
    assert_same(picture(model), before)


def test_a_forward_without_preserved_changes_the_picture():
    model = messy()
    before = picture(model)
    try:
        model(torch.randn(4, 3, 8, 8))
        after = picture(model)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_grad_enabled(True)
    for key in before.keys() - {"grads"}:
        with pytest.raises(AssertionError):
            assert_same(after[key], before[key])


@pytest.mark.parametrize("size", [4, 3], ids=["success", "exception"])
def test_capture_leaves_the_model_as_found(size):
    model = messy()
    before = picture(model)
    try:
        capture(model, (torch.randn(size, 3, 8, 8, generator=torch.Generator().manual_seed(0)),))
    except InputError as error:
        assert size == 3
        assert error.what == "the forward raises ValueError: three"
    assert_same(picture(model), before)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in (*LIVE, "numpy_round_trip")])
def test_capture_leaves_every_kind_of_norm_as_found(kind):
    model = net(kind).eval()
    before = picture(model)
    capture(model, (batch(),))
    assert_same(picture(model), before)


def test_a_graph_that_the_user_holds_can_still_be_walked_backward():
    model = net("live")
    model.norm.running_mean = model.norm.running_mean + model.norm.weight  # a buffer that carries a graph
    graph = model.norm.running_mean
    loss = (graph * model.norm.weight).sum() + model(batch()).sum()
    capture(model, (batch(),))
    assert model.norm.running_mean is graph
    loss.backward()
    assert model.norm.weight.grad is not None


def test_optimizer_hooks_of_parameters_do_not_run():
    model = net("live")
    steps = []
    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(steps.append)
    capture(model, (batch(),))
    assert not steps


def test_capture_works_under_no_grad_and_inference_mode():
    model = net("detach")
    with torch.no_grad():
        assert capture(model, (batch(),)).unfaithful is None
    with torch.inference_mode():
        assert capture(model, (batch(),)).unfaithful is None
        assert torch.is_inference_mode_enabled()


def test_lazy_modules_are_refused():
    with pytest.raises(InputError, match=r"`0.weight` has no shape yet"):
        capture(nn.Sequential(nn.LazyLinear(3)), (torch.ones(2, 2),))


class Keeper(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x):
        self.stats = {"mean": (x * self.weight).mean(0)}
        return x - self.stats["mean"]


def test_detached_copy_copies_a_module_that_keeps_a_graph():
    module = Keeper()
    module(torch.randn(3, 2))
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(module)
    twin = detached_copy(module)
    assert torch.equal(twin.stats["mean"], module.stats["mean"])
    assert not twin.stats["mean"].requires_grad
    assert module.stats["mean"].requires_grad
    assert twin.weight is not module.weight
    assert twin.weight.requires_grad


def test_detached_copy_leaves_user_hooks_behind_and_keeps_those_of_torch():
    seen = []
    module = torch.nn.utils.spectral_norm(nn.Linear(2, 2))
    module.register_forward_hook(lambda *call: seen.append(call))
    module(torch.ones(1, 2))
    twin = detached_copy(module)
    assert len(seen) == 1
    twin(torch.ones(1, 2)).sum().backward()
    assert len(seen) == 1
    assert twin.weight_orig.grad is not None
    assert len(module._forward_hooks) == 1


def test_detached_copy_of_what_cannot_be_copied_is_an_input_error():
    module = Keeper()
    module.file = open(__file__)  # noqa: SIM115, PTH123
    with module.file, pytest.raises(InputError, match="cannot be copied: TypeError"):
        detached_copy(module)


def test_what_is_preserved_around_is_not_copied_again():
    model = nn.Linear(2, 3)
    before = model.weight.detach().clone()
    with preserved(model):
        with preserved(model, model.parameters()):
            model.weight.data.add_(1)
        assert torch.equal(model.weight, before + 1)
    assert torch.equal(model.weight, before)
