"""The third rung: statistics that processes sum in place become differentiable sums."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import nn

from bnlint.layers import UnstoppedNorm
from bnlint.model.check import check_model
from bnlint.repairs.apply import repair

pytestmark = pytest.mark.filterwarnings("ignore")


class SharedNorm(nn.Module):
    """Synchronized batch normalization by hand, with the statistics of all processes in its buffer."""

    def __init__(self, how="sum", group=None):
        super().__init__()
        self.weight, self.how, self.group = nn.Parameter(torch.rand(4) + 0.5), how, group
        self.register_buffer("running_mean", torch.zeros(4))

    def forward(self, x):
        if not self.training:
            return x - self.running_mean[:, None, None]
        mean, square = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
        if self.how == "no_grad":
            with torch.no_grad():
                dist.all_reduce(mean), dist.all_reduce(square)
        elif self.how == "max":
            dist.all_reduce(mean, op=dist.ReduceOp.MAX), dist.all_reduce(square)
        else:
            dist.all_reduce(mean, group=self.group), dist.all_reduce(square, op=dist.ReduceOp.SUM, group=self.group)
        size = 2.0 if self.how == "fixed" else dist.get_world_size(self.group)
        mean, square = mean / size, square / size
        self.running_mean.lerp_(mean.detach(), 0.1)
        mean, square = mean[:, None, None], square[:, None, None]
        return torch.relu((x - mean) / (square - mean * mean + 1e-5).sqrt() * self.weight[:, None, None])


def whole_batch(layer, x, cotangent):
    """What one process would do with the batches of all: the gradient that each should see of the sum of all losses."""
    x = x.clone().requires_grad_()
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    out = torch.relu((x - mean) / (var + 1e-5).sqrt() * layer.weight.detach()[:, None, None])
    (gradient,) = torch.autograd.grad(out, x, cotangent)
    return out, gradient


def work(index, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=2)
    generator = torch.Generator().manual_seed(5)
    x, cotangent = torch.randn(2, 8, 4, 5, 5, generator=generator, dtype=torch.float64)
    mine = slice(4 * index, 4 * index + 4)
    told = {}
    for how in ("sum", "no_grad", "fixed"):
        torch.manual_seed(0)
        layer = SharedNorm(how).double()
        (certificate,) = repair(layer, x[mine])
        out, gradient = whole_batch(layer, x, cotangent)
        leaf = x[mine].clone().requires_grad_()
        ours = layer(leaf)
        (found,) = torch.autograd.grad(ours, leaf, cotangent[mine])
        torch.testing.assert_close(ours, out[mine])
        torch.testing.assert_close(found, gradient[mine], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(layer.running_mean, 0.1 * x.mean((0, 2, 3)))
        told[how] = [certificate.rung, type(layer).__name__, len(check_model(layer, x[mine]))]
    (folder / f"{index}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


def test_two_processes_get_the_gradient_of_the_whole_batch(tmp_path):
    processes.spawn(work, (tmp_path,), nprocs=2)

    told = [json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1)]
    assert told == [{how: ["collective", "UnstoppedNorm", 0] for how in ("sum", "no_grad", "fixed")}] * 2


def work_in_groups(index, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=3)
    groups = [dist.new_group([0, 1]), dist.new_group([2])]
    generator = torch.Generator().manual_seed(5)
    x, cotangent = torch.randn(2, 12, 4, 5, 5, generator=generator, dtype=torch.float64)
    mine, shared = slice(4 * index, 4 * index + 4), slice(8) if index < 2 else slice(8, 12)
    torch.manual_seed(0)
    layer = SharedNorm(group=groups[index // 2]).double()
    (certificate,) = repair(layer, x[mine])
    out, gradient = torch.empty_like(x), torch.empty_like(x)
    out[shared], gradient[shared] = whole_batch(layer, x[shared], cotangent[shared])
    leaf = x[mine].clone().requires_grad_()
    ours = layer(leaf)
    (found,) = torch.autograd.grad(ours, leaf, cotangent[mine])
    torch.testing.assert_close(ours, out[mine])
    torch.testing.assert_close(found, gradient[mine], rtol=1e-9, atol=1e-9)
    assert certificate.rung == "collective" and layer.process_group is groups[index // 2]
    dist.destroy_process_group()


def test_statistics_that_a_group_of_processes_shares_stay_within_it(tmp_path):
    processes.spawn(work_in_groups, (tmp_path,), nprocs=3)


def data():
    return torch.randn(4, 4, 5, 5, generator=torch.Generator().manual_seed(1))


def test_one_process_repairs_what_it_cannot_measure(alone):
    layer = SharedNorm()

    (certificate,) = repair(layer, data())

    assert certificate.rung == "collective" and type(layer) is UnstoppedNorm
    assert check_model(layer, data()) == []
    dist.destroy_process_group()
    layer(data())  # alone, without a group, there is nothing to exchange


def test_a_number_of_processes_that_is_written_in_the_code_is_held_to(alone):
    layer = SharedNorm("fixed")
    repair(layer, data())
    steps = layer.programs["train"][1]
    assert ("world_size" in [name for name, *_ in steps]) and ("expect" in [name for name, *_ in steps])


def test_what_has_no_differentiable_form_is_refused(alone):
    layer = SharedNorm("max")
    (certificate,) = repair(layer, data())
    assert not certificate.accepted and "another operation" in certificate.reason
    assert type(layer) is SharedNorm


class TwoGroups(SharedNorm):
    """Shares its mean with others than its variance."""

    def forward(self, x):
        mean, square = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
        dist.all_reduce(mean, group=self.group), dist.all_reduce(square)
        mean, square = mean[:, None, None], square[:, None, None]
        return (x - mean) / (square - mean * mean + 1e-5).sqrt() * self.weight[:, None, None]


def test_statistics_of_two_groups_are_refused(alone):
    (certificate,) = repair(TwoGroups(group=dist.new_group([0])), data())
    assert not certificate.accepted and "more than one group" in certificate.reason


def test_all_processes_may_be_named(alone):
    layer = SharedNorm(group=dist.group.WORLD)
    (certificate,) = repair(layer, data())
    assert certificate.rung == "collective" and layer.process_group is None
    assert "group" not in repr(layer.programs)


class CountingNorm(SharedNorm):
    """Weighs each process by the number of its values, which is a tensor of its own."""

    def forward(self, x):
        count = torch.tensor([x.numel() // x.size(1)], dtype=x.dtype)
        total, square = x.sum((0, 2, 3)), (x * x).sum((0, 2, 3))
        dist.all_reduce(total), dist.all_reduce(square), dist.all_reduce(count)
        mean, square = (total / count)[:, None, None], (square / count)[:, None, None]
        return (x - mean) / (square - mean * mean + 1e-5).sqrt() * self.weight[:, None, None]


def test_a_count_of_values_that_becomes_a_tensor_is_kept(alone):
    assert repair(CountingNorm(), data())[0].rung == "collective"
