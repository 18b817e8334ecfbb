"""Every way to stop a gradient that the runtime check is tested with: repaired to the layer without it, or refused."""

import copy

import pytest
import stops
import torch
from stops import KINDS, LIVE

from bnlint.model.check import check_model
from bnlint.repairs.apply import repair

#: these take one statistic for all channels
WHOLE = {"item", "python_float"}
#: no gradient flows through what was collected from earlier batches, with or without a stop
REFUSED = {"running_buffer": "running statistics"}
UNSTOPPED = {"item", "python_float", "copy_no_grad", "copy_data"}


def whole(layer, x):
    return x.mean() + torch.zeros(4), x.var(unbiased=False) + torch.zeros(4)


def step(net, seed):
    x = stops.batch(seed).requires_grad_()
    out = net(x)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(9))
    return out.detach(), torch.autograd.grad(out, [x, *net.parameters()], cotangent)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(LIVE) - set(REFUSED)))
def test_it_is_repaired_to_the_layer_without_the_stop(kind, monkeypatch):
    monkeypatch.setitem(KINDS, "whole", whole)
    ours, before = stops.net(kind), stops.net(kind)
    right = stops.net("whole" if kind in WHOLE else "live")
    right.load_state_dict(ours.state_dict())

    (certificate,) = repair(ours, stops.batch())

    assert certificate.accepted, certificate.reason
    assert certificate.rung == ("unstop" if kind in UNSTOPPED else "native")
    for seed in (2, 3):
        torch.testing.assert_close(step(ours, seed), step(right, seed), rtol=1e-4, atol=1e-5)
        before(stops.batch(seed))
        torch.testing.assert_close(dict(ours.named_buffers()), dict(before.named_buffers()))
    torch.testing.assert_close(ours.eval()(stops.batch(4)), before.eval()(stops.batch(4)), rtol=1e-4, atol=1e-5)
    assert check_model(ours.train(), stops.batch()) == []


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_the_reason(kind):
    net = stops.net(kind)
    before = copy.deepcopy(net.state_dict())

    (certificate,) = repair(net, stops.batch())

    assert not certificate.accepted and REFUSED[kind] in certificate.reason
    assert type(net.norm) is stops.StoppedNorm
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("kind", ["live", "good_function", "live_copy"])
def test_what_is_right_is_left_alone(kind):
    net = stops.net(kind)
    assert repair(net, stops.batch()) == []
    assert type(net.norm) is stops.StoppedNorm


def test_all_but_one_are_repaired():
    kinds = set(KINDS) - set(LIVE)
    assert len(kinds) == 28 and len(kinds - set(REFUSED)) == 27
