"""Layers that exchange their statistics only where other processes are: never repaired to one that does not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn
from torch import nn
from torch.distributed import get_world_size, is_initialized

from bnlint.layers import UnstoppedNorm
from bnlint.repairs.apply import repair

pytestmark = pytest.mark.filterwarnings("ignore")


def data():
    return torch.randn(4, 3, 5, 4, generator=torch.Generator().manual_seed(1)) * 1.5 + 0.5


class Guarded(nn.BatchNorm2d):
    """Batch normalization by hand, whose statistics carry no gradient; `shared` may exchange them."""

    def shared(self, mean, square):
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean), dist.all_reduce(square)
            mean, square = mean / dist.get_world_size(), square / dist.get_world_size()
        return mean, square

    def forward(self, x):
        if self.training:
            mean, square = self.shared(x.mean((0, 2, 3)).detach(), (x * x).mean((0, 2, 3)).detach())
            var = square - mean * mean
            with torch.no_grad():
                count = x.numel() / x.size(1)
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / (count - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        x = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + self.eps).sqrt()
        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Activated(Guarded):
    """No norm of torch's."""

    def forward(self, x):
        mean, var = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False)
        mean, var = self.shared(mean, var)
        return torch.relu((x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + self.eps).sqrt())


class Tried(Guarded):
    def shared(self, mean, square):
        try:
            dist.all_reduce(mean), dist.all_reduce(square)
        except (RuntimeError, ValueError):
            return mean, square
        return mean / dist.get_world_size(), square / dist.get_world_size()


def processes():
    return get_world_size() if is_initialized() else 1


class Helped(Guarded):
    """Asks and exchanges behind functions that were imported by name."""

    def shared(self, mean, square):
        return self.averaged(mean), self.averaged(square)

    def averaged(self, value):
        return torch.distributed.nn.functional.all_reduce(value) / processes() if processes() > 1 else value


class Gathering(Guarded):
    """Exchanges by another collective, and only in evaluation."""

    def forward(self, x):
        if not self.training and processes() > 1:
            parts = x.new_empty(processes() * 3)
            dist.all_gather_into_tensor(parts, self.running_mean)
        return super().forward(x)

    def shared(self, mean, square):
        return mean, square


class Failing(Guarded):
    def shared(self, mean, square):
        if is_initialized():
            raise NotImplementedError("not yet")
        return mean, square


class Several(nn.Module):
    """Exchanges where there is more than one process."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x):
        mean, var = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False)
        if processes() > 1:
            dist.all_reduce(mean)
            mean = mean / processes()
        return (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt() * self.weight.view(1, -1, 1, 1)


class Logging(Guarded):
    """Asks who it is, and exchanges nothing."""

    told = 0

    def shared(self, mean, square):
        if not is_initialized() or dist.get_rank() == 0:
            Logging.told += 1
        return mean, square


@pytest.mark.parametrize("kind", [Guarded, Activated, Tried, Helped, Gathering, Several])
def test_outside_of_a_group_a_layer_that_would_exchange_is_refused_and_told_where_to_repair_it(kind):
    layer, hook = kind(3), sys.excepthook

    (certificate,) = repair(layer, data())

    assert not certificate.accepted and type(layer) is kind
    assert certificate.reason == (
        "where there are other processes it exchanges tensors with them, and here there are none: "
        "repair it within the process group (torchrun)"
    )
    assert not dist.is_initialized() and sys.excepthook is hook


def test_a_layer_that_fails_in_a_group_is_refused():
    (certificate,) = repair(Failing(3), data())
    assert not certificate.accepted
    assert certificate.reason == "where there are other processes it raises NotImplementedError: not yet"


def test_a_layer_that_only_asks_who_it_is_is_repaired():
    (certificate,) = repair(Logging(3), data())
    assert certificate.rung == "native" and Logging.told


@pytest.mark.parametrize("kind", [Guarded, Activated])
def test_within_a_group_a_guarded_exchange_is_kept(alone, kind):
    layer = kind(3)
    (certificate,) = repair(layer, data())
    assert certificate.rung == "collective" and type(layer) is UnstoppedNorm


def test_in_a_group_of_one_a_layer_that_exchanges_among_more_is_held_to_one(alone):
    layer = Several(3)

    (certificate,) = repair(layer, data())

    assert certificate.rung == "unstop" and certificate.reason == "what it does depends on the number of processes"
    assert [arguments for name, arguments, *_ in layer.programs["train"][1] if name == "expect"]


class GatheringAlways(Gathering):
    """Exchanges its statistics by a collective that has no differentiable form here."""

    def shared(self, mean, square):
        parts = mean.new_zeros(processes() * 3)
        dist.all_gather_into_tensor(parts, mean)
        return parts.view(-1, 3).mean(0), square


@pytest.mark.parametrize("kind", [Gathering, GatheringAlways])
def test_within_a_group_every_collective_is_an_exchange(alone, kind):
    layer = kind(3)
    (certificate,) = repair(layer, data())
    assert certificate.rung != "native", certificate


def test_looking_for_an_exchange_imports_no_compiler():
    code = "import sys, bnlint, torch, test_exchange as t; bnlint.repair(t.Logging(3), t.data())"
    paths = [str(Path(__file__).parent), *sys.path]
    code += "; assert 'torch._dynamo' not in sys.modules"
    run = [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path[:0] = {paths!r}; {code}"]
    assert subprocess.run(run, capture_output=True, text=True, check=False).stderr == ""
