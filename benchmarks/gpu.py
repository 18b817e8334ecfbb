"""Measure on a GPU what a repair is worth: steps of ResNet-50 with native, broken and repaired batch normalization.

    python benchmarks/gpu.py                                    # bf16, channels_last, batch 256, 224 x 224
    python benchmarks/gpu.py --device cpu --batch 4 --size 64   # shows that it works

Prints Markdown tables: time and memory of a training step, the time of `repair` and of `check` with and without proof,
and how far certificates measured there are from those of the CPU. Needs torchvision. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import gc
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

import bnlint
from bnlint.certificate import Certificate
from bnlint.model.layers import find_layers
from bnlint.repairs.apply import repair

NUMBERS = ("output_error", "eval_error", "buffer_error", "gradient_error", "gradient_error_before", "mean_identity")
MODELS = {"resnet18": resnet18, "resnet50": resnet50}


class StoppedNorm(nn.BatchNorm2d):
    """Batch normalization by hand, with its statistics detached."""

    def forward(self, x: Tensor) -> Tensor:
        wide = (1, -1, 1, 1)
        if self.training:
            mean, var = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False).detach()
            count = x.numel() // x.shape[1]
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
                self.running_var.lerp_((var * count / (count - 1)).to(self.running_var.dtype), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        out = (x - mean.view(wide)) / torch.sqrt(var.view(wide) + self.eps)
        return out * self.weight.view(wide) + self.bias.view(wide)


class OddNorm(StoppedNorm):
    """The same with a bound on what it returns, for which torch has no operator."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).clamp(-20.0, 20.0)


@dataclass
class Row:
    """A model, and what its steps take."""

    name: str
    milliseconds: float
    megabytes: float


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", choices=MODELS, default="resnet50")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=20)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    device = torch.device(given.device)
    make = MODELS[given.model]
    images = torch.randn(given.batch, 3, given.size, given.size).to(device, memory_format=torch.channels_last)
    small = torch.randn(4, 3, 64, 64).to(device, memory_format=torch.channels_last)

    def built(norm: type[nn.Module]) -> nn.Module:
        torch.manual_seed(0)
        model: nn.Module = make(norm_layer=norm)
        return model.to(device, memory_format=torch.channels_last).train()

    rows = [stepped("native", built(nn.BatchNorm2d), images, given.steps)]
    certificates: list[Certificate] = []
    for name, norm in (("custom", StoppedNorm), ("custom, no operator of torch's", OddNorm)):
        model = built(norm)
        rows.append(stepped(f"{name}, broken", model, images, given.steps))
        if norm is StoppedNorm:
            look = timed(lambda model=model: find_layers(model, (small,)), device)
            proof = timed(lambda model=model: bnlint.check_model(model, small), device)
            on_cpu = repair(copy.deepcopy(model).cpu(), small.cpu(), inplace=False)
            mend = timed(lambda model=model: certificates.extend(repair(model, small)), device)
        else:
            repair(model, small)
        rows.append(stepped(f"{name}, repaired", model, images, given.steps))

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()}, CPU"
    print(
        f"{where}, torch {torch.__version__}, {datetime.date.today()}: {given.model}, bf16 autocast, channels_last, ",
        end="",
    )
    print(f"batch {given.batch} of {given.size} x {given.size}, median of {given.steps} steps\n")
    print("| batch normalization | a step, ms | times native | peak memory, MB |\n|---|---|---|---|")
    for row in rows:
        relative = row.milliseconds / rows[0].milliseconds
        print(f"| {row.name} | {row.milliseconds:.1f} | {relative:.2f} | {row.megabytes or '–'} |")
    print("\n| what | seconds |\n|---|---|")
    print(f"| `check`, without proof | {look:.1f} |\n| `check` | {proof:.1f} |\n| `repair` | {mend:.1f} |")
    accepted = sum(c.accepted for c in certificates)
    print(f"\n{accepted} of {len(certificates)} layers repaired and certified; ", end="")
    print(f"certificates differ from those of the CPU by at most {apart(certificates, on_cpu):.1e}")


def stepped(name: str, model: nn.Module, images: Tensor, steps: int) -> Row:
    """Train a model on one batch, and take the median of its steps."""
    device = images.device
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    labels = torch.arange(len(images), device=device) % 1000
    collect(device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    for _ in range(min(3, steps)):
        step()
    seconds = [timed(step, device) for _ in range(steps)]
    peak = torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else 0
    return Row(name, 1000 * statistics.median(seconds), peak)


def collect(device: torch.device) -> None:
    """Forget what earlier models took."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def timed(function: Callable[[], object], device: torch.device) -> float:
    """Return how long a function takes, work on the device included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def apart(ours: list[Certificate], theirs: list[Certificate]) -> float:
    """Return the largest difference between the numbers of certificates."""
    pairs = zip(ours, theirs, strict=True)
    return max(abs(getattr(a, name) - getattr(b, name)) for a, b in pairs for name in NUMBERS)


if __name__ == "__main__":
    main()
