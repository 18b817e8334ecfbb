"""Repairs in the middle of a training: between steps, under autocast, in channels_last, and what is made afterwards."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from variants import HandNorm, batch, gradients

from bnlint.layers import UnstoppedNorm
from bnlint.repairs.apply import repair


class Fused(HandNorm):
    """Does what torch's layer does not: an activation, and a weight around one."""

    def forward(self, x):
        return torch.nn.functional.silu(super().forward(x))


def nets(**options):
    ours, theirs = (
        nn.Sequential(
            nn.Conv2d(3, 4, 3),
            HandNorm(unbiased=True, stop=stop),
            nn.Conv2d(4, 4, 3),
            Fused(stop=stop),
            nn.Conv2d(4, 2, 1),
        )
        for stop in (True, False)
    )
    theirs.load_state_dict(ours.state_dict())
    return ours.to(**options), theirs.to(**options)


def images(seed, memory_format=torch.contiguous_format):
    x = torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(seed))
    return x.to(memory_format=memory_format)


def step(model, optimizer, x, *, between=None):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = model(x).float().square().mean()
        if between is not None:
            between()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_training_under_autocast_goes_on_as_with_the_corrected_model(memory_format):
    ours, theirs = nets(memory_format=memory_format)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.01) for model in (ours, theirs)]
    told = []

    def between():
        told.extend(repair(ours, images(0, memory_format)))

    step(ours, optimizers[0], images(1, memory_format), between=between)
    theirs.load_state_dict(ours.state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for seed in (2, 3):
        step(ours, optimizers[0], images(seed, memory_format))
        step(theirs, optimizers[1], images(seed, memory_format))

    assert [c.rung for c in told] == ["native", "unstop"]
    for key, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[key], rtol=0.05, atol=0.02)
    out = ours[1](torch.randn(4, 4, 5, 5).to(memory_format=memory_format))
    assert out.is_contiguous(memory_format=memory_format)
    assert ours[3](out).is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_mode_around_a_repair_does_not_matter(mode):
    ours, _ = nets()
    with mode():
        certificates = repair(ours, images(0).clone())
    assert [c.rung for c in certificates] == ["native", "unstop"]
    assert all(p.requires_grad and not p.is_inference() for p in ours.parameters())


class Noisy(HandNorm):
    def forward(self, x):
        return super().forward(x) + 0 * torch.rand_like(x)


@pytest.mark.parametrize("make", [HandNorm, Noisy])
def test_the_random_states_stay_as_they_are(make, monkeypatch):
    seeded = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    model, before = make(), torch.get_rng_state()

    repair(model, batch(dtype=torch.float32))

    assert torch.equal(torch.get_rng_state(), before) and seeded == []


def test_gradients_that_are_waiting_stay():
    ours, _ = nets()
    ours(images(1)).square().mean().backward()
    waiting = {name: p.grad.clone() for name, p in ours.named_parameters()}
    repair(ours, images(0))
    assert all(torch.equal(p.grad, waiting[name]) for name, p in ours.named_parameters())


def test_a_graph_that_was_recorded_before_still_runs_backward():
    ours, _ = nets()
    loss = ours(images(1)).square().mean()
    repair(ours, images(0))
    loss.backward()
    assert all(p.grad is not None for p in ours.parameters())


def test_nothing_of_the_old_layer_is_kept_alive():
    layer = Fused()
    layer.cache = (held := nn.Identity(),)
    kept = weakref.ref(held)
    assert repair(layer, batch(dtype=torch.float32))[0].rung == "unstop"
    del held
    gc.collect()
    assert type(layer) is UnstoppedNorm and kept() is None


def test_a_wrapper_that_holds_the_layer_sees_the_repair():
    ours, theirs = nets(dtype=torch.float64)
    wrapped = nn.DataParallel(ours)
    repair(ours, images(0).double())
    x = images(5).double()
    torch.testing.assert_close(gradients(wrapped.module, x), gradients(theirs, x), rtol=1e-9, atol=1e-9)


def test_buffers_that_are_not_persistent_stay_so():
    layer = Fused()
    layer.register_buffer("running_mean", torch.zeros(4), persistent=False)
    keys = list(layer.state_dict())
    assert repair(layer, batch(dtype=torch.float32))[0].rung == "unstop"
    assert list(layer.state_dict()) == keys and "running_mean" not in keys
    plain = HandNorm()
    plain.register_buffer("running_mean", torch.zeros(4), persistent=False)
    assert repair(plain, batch(dtype=torch.float32))[0].rung == "native"
    assert "running_mean" not in plain.state_dict()


@pytest.mark.parametrize("make", [HandNorm, Fused])
def test_one_layer_under_two_names_is_repaired_once(make):
    shared = make()
    model = nn.Sequential(nn.Conv2d(3, 4, 1), shared, nn.Conv2d(4, 4, 1), shared)
    (certificate,) = repair(model, images(0))
    assert certificate.accepted and model[1] is model[3] is shared


def test_layers_with_shared_parameters_keep_sharing_them():
    first, second = Fused(), Fused()
    second.weight = first.weight
    model = nn.Sequential(nn.Conv2d(3, 4, 1), first, nn.Conv2d(4, 4, 1), second)
    assert [c.accepted for c in repair(model, images(0))] == [True, True]
    assert first.weight is second.weight
