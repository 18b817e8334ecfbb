"""What a check of a model costs, as a ratio to one training step (float32, forward and backward) of the same model.

    python benchmarks/cost.py > cost.md
    python benchmarks/cost.py --only resnet18

torchvision must be installed. Each model is measured as torch wrote its normalization, and with that swapped for a twin
written by hand that detaches its statistics. Steps and checks alternate in one process, on one thread; the least
processor time of each counts. Peak memory is that of processes of their own, above what they held with the model built.
Nothing here is a test: times are looked at by people.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import resource
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from bnlint.model.check import check_layers
from bnlint.model.layers import find_layers

ROUNDS = 2
KINDS = ("native", "stopped twin")


class Batch(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        var = x.var((0, 2, 3), keepdim=True, unbiased=False).detach()
        shape = (1, -1, 1, 1)
        return (x - mean) * torch.rsqrt(var + self.eps) * self.weight.view(shape) + self.bias.view(shape)


class Layer(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        mean, var = x.mean(-1, keepdim=True).detach(), x.var(-1, keepdim=True, unbiased=False).detach()
        return (x - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


def twins(model: nn.Module, kind: str) -> nn.Module:
    """Turn the normalization layers of a model into a kind of twin."""
    for module in model.modules():
        if kind != "native" and isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            module.__class__ = Batch if isinstance(module, nn.BatchNorm2d) else Layer
    return model.train()


def images(count: int, size: int) -> Callable[[], tuple[Any, ...]]:
    return lambda: (torch.randn(count, 3, size, size),)


def scenes() -> tuple[Any, ...]:
    boxes = torch.tensor([[20.0, 20.0, 120.0, 140.0], [80.0, 60.0, 260.0, 280.0]])
    targets = [{"boxes": boxes.clone(), "labels": torch.tensor([1, 2])} for _ in range(2)]
    return ([torch.rand(3, 320, 320) for _ in range(2)], targets)


MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Any, ...]], str]] = {
    "resnet18": (torchvision.models.resnet18, images(8, 224), "8×3×224×224"),
    "resnet50": (torchvision.models.resnet50, images(4, 224), "4×3×224×224"),
    "vit_b_16": (torchvision.models.vit_b_16, images(2, 224), "2×3×224×224"),
    "fasterrcnn_resnet50_fpn": (
        lambda: torchvision.models.detection.fasterrcnn_resnet50_fpn(
            weights=None, weights_backbone=None, min_size=320, max_size=320
        ),
        scenes,
        "2×3×320×320",
    ),
}


def step(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """One training step but for the optimizer: forward and backward."""
    outputs = model(*inputs)
    total = sum(outputs.values()) if isinstance(outputs, dict) else (outputs * torch.randn_like(outputs)).sum()
    torch.as_tensor(total).backward()
    model.zero_grad(set_to_none=True)


def check(model: nn.Module, inputs: tuple[Any, ...]) -> int:
    """Check it all; return how many layers were measured."""
    return sum(checked.measured is not None for checked in check_layers(find_layers(model, inputs)))


def seconds(action: Callable[[], object]) -> float:
    start = time.process_time()
    action()
    return time.process_time() - start


def timed(name: str, kind: str) -> None:
    """Print the least times of a step and of a check, and how many layers were measured."""
    model, inputs = built(name, kind)
    step(model, inputs)  # the first one is slower
    layers: list[int] = []
    rows = [
        (seconds(lambda: step(model, inputs)), seconds(lambda: layers.append(check(model, inputs))))
        for _ in range(ROUNDS)
    ]
    print(*(min(column) for column in zip(*rows, strict=True)), layers[0])


def weighed(name: str, kind: str, action: Callable[[nn.Module, tuple[Any, ...]], object]) -> None:
    """Print by how many MB the memory of this process grows at most."""
    model, inputs = built(name, kind)
    action(twins(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), kind), (torch.randn(4, 3, 8, 8),))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    action(model, inputs)
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def built(name: str, kind: str) -> tuple[nn.Module, tuple[Any, ...]]:
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make, inputs, _ = MODELS[name]
    return twins(make(), kind), inputs()


def of_its_own(*arguments: str) -> list[float]:
    """Run this script for one measurement."""
    run = subprocess.run([sys.executable, __file__, *arguments], check=True, capture_output=True, text=True)
    return [float(word) for word in run.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=MODELS, action="append", help="this model alone")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        what, name, kind = given.measure
        timed(name, kind) if what == "time" else weighed(name, kind, step if what == "step" else check)
        return
    today = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{today}, torch {torch.__version__}, {platform.machine()}, one thread\n")
    print("| model | input | normalization | measured | step | check | ratio | memory of step | of check | ratio |")
    print("|---|---|---|--:|--:|--:|--:|--:|--:|--:|")
    for name in given.only or MODELS:
        for kind in KINDS:
            one, all_of_it, layers = of_its_own("--measure", "time", name, kind)
            (of_step,) = of_its_own("--measure", "step", name, kind)
            (of_check,) = of_its_own("--measure", "check", name, kind)
            print(
                f"| {name} | {MODELS[name][2]} | {kind} | {layers:.0f} | {one:.2f} s | {all_of_it:.2f} s "
                f"| **{all_of_it / one:.1f}** | {of_step:.0f} MB | {of_check:.0f} MB | **{of_check / of_step:.1f}** |",
                flush=True,
            )


if __name__ == "__main__":
    main()
