"""Train models with native, broken, repaired and hand-corrected normalization at several learning rates and seeds.

    python benchmarks/story.py --model resnet --out story.jsonl   # minutes: ResNet-18, batch normalization
    python benchmarks/story.py --model vit --out story.jsonl      # a small ViT, layer normalization
    python benchmarks/story.py --model transformer --out story.jsonl   # a small transformer, RMS normalization
    python benchmarks/sweep_plot.py story.jsonl -o docs/images/sweep.svg   # the picture, and the tables

Every run is one line of the output; runs that are there already are not made again, so an interrupted sweep goes on
where it was. All variants of a seed start from the same weights and see the same batches. `repaired` is what
`bnlint.repair` makes of the broken model. The gradient of each layer is measured before the first step, against that of
the hand-corrected model, whose outputs are those of the broken one.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hand_norms
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from timm.models.vision_transformer import VisionTransformer
from torch import nn

import bnlint

# isort: split
# hand_norms puts the folder of the example on the path: its batches and its training step are used here
from layers import resnet18
from train import BATCH_SIZE, MOMENTUM, SUMMARY_STEPS, load_images, random_batches, train_step

VARIANTS = ("native", "broken", "repaired", "corrected")
RATES = (0.01, 0.03, 0.1, 0.3)


def small_images() -> tuple[torch.Tensor, torch.Tensor]:
    """Return the digits at their own size, 1x8x8, of mean 0 and deviation 1, and their classes."""
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1)
    return (images - images.mean()) / images.std(), torch.tensor(digits.target)


def vit() -> nn.Module:
    """Return timm's ViT with 4 patches of 4x4 pixels, 4 blocks and 9 layer normalizations."""
    model: nn.Module = VisionTransformer(
        img_size=8,
        patch_size=4,
        in_chans=1,
        num_classes=10,
        embed_dim=64,
        depth=4,
        num_heads=4,
        norm_layer=nn.LayerNorm,
    )
    return model


class Transformer(nn.Module):
    """Reads a digit as 8 tokens, one per row of pixels; 4 pre-norm blocks and 9 RMS normalizations."""

    def __init__(self, width: int = 64, depth: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(8, width)
        self.position = nn.Parameter(torch.randn(8, width) * 0.5)
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        norm = nn.LayerNorm(width)
        self.blocks = nn.TransformerEncoder(block, depth, norm, enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images.squeeze(1)) + self.position
        logits: torch.Tensor = self.head(self.blocks(tokens).mean(dim=1))
        return logits


def transformer() -> nn.Module:
    return swap(Transformer(), nn.LayerNorm, lambda norm: nn.RMSNorm(norm.normalized_shape, eps=norm.eps))


def swap(model: nn.Module, old: type[nn.Module], make: Callable[[Any], nn.Module]) -> nn.Module:
    """Replace each layer of a class; the new ones are of the same size, and as fresh as those that they replace."""
    for name, child in model.named_children():
        setattr(model, name, make(child) if isinstance(child, old) else swap(child, old, make))
    return model


@dataclass(frozen=True)
class Subject:
    """A model, its norm in native form and by hand, its data, and how long it trains."""

    native: Callable[[], nn.Module]
    norm: type[nn.Module]
    broken: Callable[[Any], nn.Module]
    corrected: Callable[[Any], nn.Module]
    images: Callable[[], tuple[torch.Tensor, torch.Tensor]]
    steps: int


SUBJECTS = {
    "resnet": Subject(
        resnet18,
        nn.BatchNorm2d,
        lambda norm: hand_norms.BrokenBatchNorm(norm.num_features, norm.eps, norm.momentum),
        lambda norm: hand_norms.CorrectedBatchNorm(norm.num_features, norm.eps, norm.momentum),
        load_images,
        steps=60,
    ),
    "vit": Subject(
        vit,
        nn.LayerNorm,
        lambda norm: hand_norms.BrokenLayerNorm(norm.normalized_shape, norm.eps),
        lambda norm: hand_norms.CorrectedLayerNorm(norm.normalized_shape, norm.eps),
        small_images,
        steps=100,
    ),
    "transformer": Subject(
        transformer,
        nn.RMSNorm,
        lambda norm: hand_norms.BrokenRMSNorm(norm.normalized_shape, norm.eps),
        lambda norm: hand_norms.CorrectedRMSNorm(norm.normalized_shape, norm.eps),
        small_images,
        steps=100,
    ),
}


def build(subject: Subject, seed: int, batch: torch.Tensor) -> dict[str, nn.Module]:
    """Return the model in all variants, with the same weights."""
    torch.manual_seed(seed)
    models = {"native": subject.native().train()}
    for name, make in (("broken", subject.broken), ("corrected", subject.corrected)):
        models[name] = swap(copy.deepcopy(models["native"]), subject.norm, make).train()
    models["repaired"] = copy.deepcopy(models["broken"])
    certificates = bnlint.repair(models["repaired"], batch)
    norms = sum(isinstance(module, subject.norm) for module in models["native"].modules())
    if len(certificates) != norms:
        raise SystemExit(f"story.py: bnlint repaired {len(certificates)} of {norms} layers")
    return models


def weight_gradients(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the gradient of each weight matrix and kernel, in float64, on one batch; the model is not changed."""
    model = copy.deepcopy(model).double()
    F.cross_entropy(model(images.double()), labels).backward()
    return {name: p.grad.flatten() for name, p in model.named_parameters() if p.ndim > 1 and p.grad is not None}


def gradient_errors(
    models: Mapping[str, nn.Module], variant: str, images: torch.Tensor, labels: torch.Tensor
) -> dict[str, dict[str, float]]:
    """Compare each layer's gradient with the hand-corrected model's: relative error and cosine."""
    true = weight_gradients(models["corrected"], images, labels)
    mine = weight_gradients(models[variant], images, labels)
    return {
        name: {
            "error": float((mine[name] - true[name]).norm() / true[name].norm()),
            "cosine": float(F.cosine_similarity(mine[name], true[name], dim=0)),
        }
        for name in true
    }


def run(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, *, steps: int, seed: int, lr: float
) -> dict[str, Any]:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=MOMENTUM)
    batches = random_batches(len(images), BATCH_SIZE, steps, seed)
    history = [train_step(model, optimizer, images[batch], labels[batch]) for batch in batches]
    last = [accuracy for _, accuracy in history[-SUMMARY_STEPS:]]
    return {"accuracy": sum(last) / len(last), "loss": history[-1][0], "highest_loss": max(loss for loss, _ in history)}


def done(out: Path) -> set[tuple[Any, ...]]:
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return {key(json.loads(line)) for line in lines}


def key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record[name] for name in ("model", "variant", "steps", "seed", "lr"))


def sweep(name: str, seed: int, rates: list[float], out: Path) -> None:
    """Make the missing runs of one seed, and write each when it is there."""
    subject = SUBJECTS[name]
    wanted = [
        {"model": name, "variant": variant, "steps": subject.steps, "seed": seed, "lr": lr}
        for lr in rates
        for variant in VARIANTS
    ]
    there = done(out)
    if all(key(record) in there for record in wanted):
        return
    images, labels = subject.images()
    first = next(random_batches(len(images), BATCH_SIZE, 1, seed))
    models = build(subject, seed, images[first])
    errors = {variant: gradient_errors(models, variant, images[first], labels[first]) for variant in VARIANTS}
    for record in wanted:
        if key(record) in there:
            continue
        variant, lr, start = record["variant"], record["lr"], time.perf_counter()
        numbers = run(copy.deepcopy(models[variant]), images, labels, steps=subject.steps, seed=seed, lr=lr)
        numbers |= {"seconds": round(time.perf_counter() - start, 1), "gradients": errors[variant]}
        with out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record | numbers) + "\n")
        print(
            f"{name} seed {seed} lr {lr:<4} {variant:9} {numbers['accuracy']:.2f}  {numbers['seconds']} s", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SUBJECTS, required=True)
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 (default 3)")
    parser.add_argument("--lr", type=float, nargs="+", default=list(RATES), help="learning rates (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default 1)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="JSON lines; runs in it are not repeated"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for seed in range(options.seeds):
        sweep(options.model, seed, options.lr, options.out)


if __name__ == "__main__":
    main()
