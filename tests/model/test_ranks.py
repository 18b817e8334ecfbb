"""Two processes measure together what one cannot see."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
import torch.multiprocessing as processes
from torch import nn

import bnlint
from bnlint.model.check import check_model
from bnlint.model.ranks import of_first, rank, summed

pytestmark = pytest.mark.filterwarnings("ignore")


class SharedNorm(nn.Module):
    def __init__(self, live):
        super().__init__()
        self.weight, self.live = nn.Parameter(torch.ones(4)), live

    def forward(self, x):
        mean, square = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
        if self.live:
            mean, square = differentiable.all_reduce(mean), differentiable.all_reduce(square)
        else:
            dist.all_reduce(mean)
            dist.all_reduce(square)
        mean, square = (total[:, None, None] / dist.get_world_size() for total in (mean, square))
        return (x - mean) / (square - mean * mean + 1e-5).sqrt() * self.weight[:, None, None]


def work(index, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=2)
    told = {"sum": summed(index + 1.0), "moves": float(of_first(torch.ones(3)).sum()), "rank": rank()}
    for live in (False, True):
        torch.manual_seed(0)
        findings = check_model(nn.Sequential(nn.Conv2d(3, 4, 1), SharedNorm(live)), torch.randn(4, 3, 5, 5))
        told["live" if live else "stopped"] = [(f.code, f.statistic, f.measurement.error) for f in findings]
        torch.manual_seed(0)
        parallel = nn.parallel.DistributedDataParallel(nn.Sequential(nn.Conv2d(3, 4, 1), SharedNorm(live)))
        with bnlint.watch(parallel) as watched:
            for _ in range(2):
                parallel(torch.randn(4, 3, 5, 5)).square().mean().backward()
        told["watched live" if live else "watched stopped"] = [(f.code, f.statistic) for f in watched.findings]
    (folder / f"{index}.json").write_text(json.dumps(told))
    dist.destroy_process_group()


def test_two_processes_prove_an_exchange_in_place_and_clear_a_differentiable_one(tmp_path):
    processes.spawn(work, (tmp_path,), nprocs=2)

    told = [json.loads((tmp_path / f"{index}.json").read_text()) for index in (0, 1)]
    assert [t["rank"] for t in told] == [0, 1]
    assert [t["sum"] for t in told] == [3.0, 3.0]
    assert [t["moves"] for t in told] == [3.0, 0.0]
    assert [t["live"] for t in told] == [[], []]
    assert [t["watched live"] for t in told] == [[], []]
    assert [t["watched stopped"] for t in told] == [[["BN105", "mean"], ["BN105", "var"]]] * 2
    for each in told:
        assert [finding[:2] for finding in each["stopped"]] == [["BN105", "mean"], ["BN105", "var"]]
        assert all(error > 1e-2 for *_, error in each["stopped"])


def test_one_process_is_no_group():
    assert (rank(), summed(2.5), float(of_first(torch.ones(2)).sum())) == (0, 2.5, 2.0)
