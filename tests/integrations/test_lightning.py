"""The callback of Lightning, with the real Trainer."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from stops import Net, batch, net, stop_lines
from torch import Tensor, nn

from bnlint.errors import CaptureWarning, GradientWarning

pytest.importorskip("lightning")

import lightning.pytorch as pl

from bnlint.integrations.lightning import GradientCheck

pytestmark = pytest.mark.filterwarnings("ignore")


class Task(pl.LightningModule):
    def __init__(self, model: nn.Module, whole: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList([model])
        self.loss = nn.MSELoss()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[0](x)

    def training_step(self, x: Tensor, index: int) -> Tensor:
        out = self(x) if self.whole else self.parts[0](x)
        loss = self.loss(out, torch.zeros_like(out))
        self.log("loss", loss)
        return loss

    def validation_step(self, x: Tensor, index: int) -> None:
        self(x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(task: pl.LightningModule, folder: Path, *callbacks: pl.Callback, **options: Any) -> None:
    options = {"accelerator": "cpu", "max_epochs": 1, "precision": "32-true"} | options
    batches = [batch(seed) for seed in range(4)]
    trainer = pl.Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(task, torch.utils.data.DataLoader(batches, None), torch.utils.data.DataLoader(batches, None))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("whole", [True, False])
def test_a_stop_is_told_and_the_training_stays_the_same(tmp_path: Path, whole: bool, precision: str) -> None:
    task = Task(net("detach"), whole)
    twin = copy.deepcopy(task)
    fit(twin, tmp_path, precision=precision)
    check = GradientCheck()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", GradientWarning)
        fit(task, tmp_path, check, precision=precision)
    texts = [str(each.message) for each in said if each.category is GradientWarning]
    assert len(texts) == 1
    assert all(f"stops.py:{line}:" in texts[0] for line in stop_lines("detach"))
    assert [f.statistic for f in check.findings or ()] == ["mean", "var"]
    ours, theirs = task.state_dict(), twin.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not any(module._forward_pre_hooks for module in task.modules())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a strategy of several processes leaves behind is taken away."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize("whole", [True, False])
def test_a_module_that_the_strategy_wraps_is_checked_by_its_parts(
    tmp_path: Path, environment: None, whole: bool
) -> None:
    check, task = GradientCheck(), Task(net("detach"), whole)
    fit(task, tmp_path, check, strategy="ddp", devices=1)
    assert [f.module.module for f in check.findings or () if f.module] == ["norm", "norm"]
    assert not any(module._forward_pre_hooks for module in task.modules())


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(4), None])
def test_a_right_model_is_checked_and_nothing_is_said(tmp_path: Path, norm: nn.Module | None) -> None:
    check = GradientCheck("raise")
    fit(Task(Net(norm) if norm else net("live"), whole=True), tmp_path, check)
    assert check.findings == []


def test_it_stops_the_training_where_that_is_asked_for(tmp_path: Path) -> None:
    task = Task(net("detach"), whole=False)
    with pytest.raises(AssertionError, match="2 findings in 1 layer of Net"):
        fit(task, tmp_path, GradientCheck("raise"))
    assert not any(module._forward_pre_hooks for module in task.modules())


class Untouched(Task):
    def training_step(self, x: Tensor, index: int) -> Tensor:
        return sum(parameter.square().sum() for parameter in self.parameters())


def test_a_training_that_calls_nothing_is_told(tmp_path: Path) -> None:
    check = GradientCheck()
    with pytest.warns(CaptureWarning, match="no part of Untouched was called"):
        fit(Untouched(net("detach"), whole=False), tmp_path, check)
    assert check.findings is None


class Failing(Task):
    def training_step(self, x: Tensor, index: int) -> Tensor:
        raise ZeroDivisionError


def test_a_training_that_fails_leaves_no_hook_behind(tmp_path: Path) -> None:
    task = Failing(net("detach"), whole=True)
    with pytest.raises(ZeroDivisionError):
        fit(task, tmp_path, GradientCheck())
    assert not any(module._forward_pre_hooks for module in task.modules())
