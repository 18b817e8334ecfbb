"""Train one ResNet-18 three times, on the same batches from the same weights: native, broken, and repaired by bnlint.

The broken model is the one of `layers.py`. The repaired model is what `bnlint fix` makes of it on the command line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from layers import broken_resnet18, resnet18
from sklearn.datasets import load_digits
from torch import nn

LAYERS_FILE = Path(__file__).with_name("layers.py")
BATCH_SIZE = 64
IMAGE_SIZE = 32
MOMENTUM = 0.9
PRINT_EVERY = 5
SUMMARY_STEPS = 10


@dataclass
class History:
    """Training loss and accuracy of one model, one value per step."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)


def load_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return scikit-learn's digits as 1,797 images of 3x32x32 between 0 and 1, and their classes."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
    images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    return images.expand(-1, 3, -1, -1).contiguous(), torch.tensor(digits.target)


def random_batches(count: int, size: int, steps: int, seed: int) -> Iterator[torch.Tensor]:
    """Yield the image numbers of one batch per step; a new shuffle starts when too few images are left."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(count, generator=generator)
    for _ in range(steps):
        if len(order) < size:
            order = torch.randperm(count, generator=generator)
        batch, order = order[:size], order[size:]
        yield batch


def build_models(seed: int) -> dict[str, nn.Module]:
    """Return the native and the broken ResNet-18 with the same initial weights."""
    factories = {"native": resnet18, "broken": broken_resnet18}
    models = {}
    for name, factory in factories.items():
        torch.manual_seed(seed)
        models[name] = factory()
    return models


def repair_from_command_line(broken: nn.Module) -> nn.Module:
    """Save a model whole, run `bnlint fix` on the file, and load what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        broken_file, repaired_file = Path(folder, "broken.pt"), Path(folder, "repaired.pt")
        torch.save(broken, broken_file)
        command = ["fix", str(broken_file), "--code", str(LAYERS_FILE), "-o", str(repaired_file)]
        if subprocess.run([sys.executable, "-m", "bnlint", *command], check=False).returncode:
            raise SystemExit("train.py: bnlint did not repair the model; its reason is above")
        # A whole model is a program, so torch asks before it runs one; this one was written a moment ago.
        repaired: nn.Module = torch.load(repaired_file, weights_only=False)
    return repaired


def train(
    models: Mapping[str, nn.Module],
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    steps: int,
    seed: int,
    lr: float,
    batch_size: int = BATCH_SIZE,
) -> dict[str, History]:
    """Train the models side by side, each step on one batch for all of them, and print the table on the way."""
    optimizers = {name: torch.optim.SGD(m.parameters(), lr=lr, momentum=MOMENTUM) for name, m in models.items()}
    histories = {name: History() for name in models}
    print_header(models)
    for step, batch in enumerate(random_batches(len(images), batch_size, steps, seed), start=1):
        for name, model in models.items():
            loss, accuracy = train_step(model.train(), optimizers[name], images[batch], labels[batch])
            histories[name].loss.append(loss)
            histories[name].accuracy.append(accuracy)
        if step % PRINT_EVERY == 0 or step == steps:
            print_row(step, histories)
    return histories


def train_step(
    model: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """Do one step of gradient descent and return the loss and accuracy of the batch before it."""
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item(), (logits.argmax(dim=1) == labels).float().mean().item()


def print_header(names: Mapping[str, object]) -> None:
    print("      " + "".join(f" | {name:^16}" for name in names).rstrip())
    print("  step" + f" | {'loss':>7}{'accuracy':>9}" * len(names))
    print("------" + f"-+-{'-' * 16}" * len(names))


def print_row(step: int, histories: Mapping[str, History]) -> None:
    cells = (f" | {history.loss[-1]:7.2f}{history.accuracy[-1]:9.2f}" for history in histories.values())
    print(f"{step:6}" + "".join(cells), flush=True)


def print_summary(histories: Mapping[str, History]) -> None:
    last = {name: history.accuracy[-SUMMARY_STEPS:] for name, history in histories.items()}
    print(f"\nmean training accuracy of the last {len(last['native'])} steps")
    for name, values in last.items():
        print(f"  {name:9} {sum(values) / len(values):.2f}")


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=positive, default=60, help="training steps of each model (default 60)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights and the batches (default 0)")
    parser.add_argument("--lr", type=float, default=0.1, help="learning rate (default 0.1; at 0.01 the bug hides)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every loss and accuracy to FILE")
    parser.add_argument("--save-broken", type=Path, metavar="FILE", help="write the untrained broken model, and stop")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse_arguments()
    models = build_models(options.seed)
    if options.save_broken:
        torch.save(models["broken"], options.save_broken)
        return
    models["repaired"] = repair_from_command_line(models["broken"])
    histories = train(models, *load_images(), steps=options.steps, seed=options.seed, lr=options.lr)
    print_summary(histories)
    if options.json:
        record = {name: asdict(history) for name, history in histories.items()}
        options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
