"""`bnlint.watch`: the first step is checked, and nothing else is different, not by one bit."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from stops import batch, net, stop_lines
from torch import Tensor, nn

import bnlint
from bnlint.errors import CaptureWarning, GradientWarning, UsageError


class Dropping(nn.Module):
    """A model that draws random numbers, keeps running statistics and takes a keyword."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.norm = norm
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        x = F.dropout(self.norm(self.first(x)), 0.3, self.training)
        return self.head(x.tanh().mean((2, 3))) * scale * random.random() * np.random.rand()


class LiveNorm(nn.BatchNorm2d):
    """Torch's batch norm written by hand."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var = input.mean((0, 2, 3), keepdim=True), input.var((0, 2, 3), keepdim=True, unbiased=False)
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten().float(), 0.1)
        return (input - mean) / (var + self.eps).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]


class StoppedNorm(LiveNorm):
    """The same with a mean that is cut off."""

    def forward(self, input: Tensor) -> Tensor:
        mean, var = input.mean((0, 2, 3), keepdim=True).detach(), input.var((0, 2, 3), keepdim=True, unbiased=False)
        return (input - mean) / (var + self.eps).sqrt() * self.weight[:, None, None] + self.bias[:, None, None]


def train(model: nn.Module, call: Callable[..., Tensor], autocast: bool, steps: int = 3) -> list[Tensor]:
    """A loop of a user; return all that it leaves behind."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=autocast)
    losses = []
    for step in range(steps):
        x = batch(step)
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = call(x, scale=0.5).square().mean() + call(x).mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.detach())
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return [*losses, *model.state_dict().values(), *gradients, torch.rand(3), torch.tensor([random.random()])]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, LiveNorm, StoppedNorm])
def test_training_is_bit_for_bit_what_it_is_without(norm: type[nn.BatchNorm2d], autocast: bool) -> None:
    model = Dropping(norm(4))
    twin = copy.deepcopy(model)
    expected = train(twin, twin, autocast)
    with warnings.catch_warnings(record=True) as said, bnlint.watch(model) as watched:
        warnings.simplefilter("always")
        got = train(model, model, autocast)
    assert len(got) == len(expected)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert vars(model).keys() == vars(twin).keys()
    assert not model._forward_pre_hooks and not model._forward_pre_hooks_with_kwargs
    assert watched.findings is not None and not watched.waiting
    stopped = norm is StoppedNorm
    assert [f.statistic for f in watched.findings] == ["mean"] * stopped
    assert [each.category for each in said] == [GradientWarning] * stopped


def test_the_warning_names_the_stop_and_stands_at_the_call_of_the_model() -> None:
    model = net("detach")
    with pytest.warns(GradientWarning) as said, bnlint.watch(model):
        model(batch())
    assert said[0].filename == __file__
    assert "2 findings in 1 layer of Net" in str(said[0].message)
    assert all(f"stops.py:{line}:" in str(said[0].message) for line in stop_lines("detach"))


def test_it_raises_where_that_is_asked_for() -> None:
    model = net("detach")
    watched = bnlint.watch(model, on_findings="raise")
    with pytest.raises(AssertionError, match="BN101 layer norm"):
        model(batch())
    assert watched.findings
    assert model(batch()).requires_grad  # it is gone
    with pytest.raises(UsageError, match="on_findings"):
        bnlint.watch(model, on_findings="ask")  # type: ignore[arg-type]


def test_only_a_step_of_training_counts() -> None:
    model = net("detach")
    watched = bnlint.watch(model)
    with torch.no_grad():
        model(batch())
    model.eval()(batch())
    assert watched.waiting and watched.findings is None
    with pytest.warns(GradientWarning):
        model.train()(batch())
    assert not watched.waiting and watched.findings


def test_what_is_frozen_does_not_count() -> None:
    model = net("detach")
    watched = bnlint.watch(model)
    model.norm.eval()
    model(batch())
    assert watched.findings == []


def test_what_bnlint_runs_is_no_step() -> None:
    model = net("detach")
    outer, inner = bnlint.watch(model), bnlint.watch(model.norm)
    assert len(bnlint.check_model(model, batch())) == 2
    assert outer.waiting and inner.waiting
    with pytest.warns(GradientWarning) as said:
        model(batch())
        model(batch())
    assert ["of Net" in str(each.message) for each in said] == [True, False]
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_the_step_is_run_a_few_times_once() -> None:
    model = net("live")
    calls = []
    model.conv1.register_forward_hook(lambda *_: calls.append(1))
    bnlint.watch(model)
    model(batch())
    first = len(calls)
    model(batch())
    model(batch())
    assert first > 1
    assert len(calls) == first + 2


def test_a_watch_that_saw_no_training_says_so() -> None:
    model = net("detach")
    with pytest.warns(CaptureWarning, match="Net was not called in training mode"), bnlint.watch(model):
        model.eval()(batch())
    assert not model._forward_pre_hooks
    with pytest.raises(KeyError), warnings.catch_warnings(), bnlint.watch(model):
        warnings.simplefilter("error")
        raise KeyError
    watched = bnlint.watch(model)
    watched.remove()
    watched.remove()
    assert not model._forward_pre_hooks


class Closed:
    """An input that cannot be copied."""

    def __init__(self, value: Tensor) -> None:
        self.value = value

    def __deepcopy__(self, memo: object) -> None:
        raise TypeError("no copies")


class Opening(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = net("detach")

    def forward(self, closed: Closed) -> Tensor:
        out: Tensor = self.net(closed.value)
        return out


def test_a_check_that_fails_does_not_end_the_training() -> None:
    model = Opening()
    bnlint.watch(model)
    with pytest.warns(CaptureWarning, match="first training step could not be checked: .*no copies"):
        assert model(Closed(batch())).requires_grad
    watched = bnlint.watch(model, on_findings="raise")
    with pytest.raises(bnlint.BnlintError, match="no copies"):
        model(Closed(batch()))
    assert watched.findings is None


def test_hooks_of_the_user_change_the_input_once() -> None:
    """The hooks that come before the forward are run by the check, so it must see what they see."""
    model = net("live")
    model.register_forward_pre_hook(lambda _, args: (args[0][0],))
    watched = bnlint.watch(model)
    model([batch()])
    assert watched.findings == []


@pytest.mark.parametrize("in_place", [False, True])
def test_compiled_models_stay_compiled_and_keep_no_trace_of_it(in_place: bool) -> None:
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        graphs.append(graph)
        return graph.forward

    model = net("detach")
    if in_place:
        model.compile(backend=backend)
        before = model._compiled_call_impl
    called = model if in_place else torch.compile(model, backend=backend)
    with pytest.warns(GradientWarning, match="layer norm:"), bnlint.watch(called) as watched:
        called(batch())
    called(batch())
    assert len(graphs) == 1  # one whole graph, compiled once
    assert watched.findings
    if in_place:
        assert model._compiled_call_impl is before


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ddp_goes_on_as_if_nothing_had_happened(process_group: None) -> None:
    model, twin = net("detach"), net("detach")
    parallel, expected = (nn.parallel.DistributedDataParallel(each) for each in (model, twin))
    with pytest.warns(GradientWarning, match="layer norm:"), bnlint.watch(parallel):
        for module in (parallel, expected):
            for seed in range(2):
                module(batch(seed)).square().mean().backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_mixed_precision_on_a_gpu() -> None:
    model = Dropping(StoppedNorm(4)).cuda()
    twin = copy.deepcopy(model)
    results = []
    for each in (twin, model):
        torch.manual_seed(1)
        scaler = torch.amp.GradScaler("cuda")
        optimizer = torch.optim.SGD(each.parameters(), 0.1)
        if each is model:
            watched = bnlint.watch(model)
        for step in range(3):
            random.seed(step)
            np.random.seed(step)
            with torch.autocast("cuda", torch.float16), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loss = each(batch(step).cuda()).square().mean()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        results.append([*each.state_dict().values(), torch.rand(3, device="cuda"), torch.tensor(scaler.get_scale())])
    assert [f.statistic for f in watched.findings or ()] == ["mean"]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
