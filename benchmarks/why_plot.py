"""Draw the two pictures of docs/why.md from what autograd says: `python benchmarks/why_plot.py -o docs/images`.

`why_step.svg` moves the seven values of one channel by a step along minus the gradient, with nothing, the mean, the
variance and both stopped. `why_depth.svg` compares the gradients of a ResNet-18's convolutions with the
true ones, layer by layer.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from torch import nn
from torchvision.models import resnet18

# What each color of the light picture becomes where the reader's system is dark.
DARK = {
    "#ffffff": "#1e2129",
    "#333333": "#dddee4",
    "#8a8a8a": "#9a9caa",
    "#d9d9d9": "#3d404d",
    "#d55e00": "#ff8c42",
    "#0072b2": "#5eb3e8",
    "#6a3d9a": "#b794e0",
}
PAPER, INK, GRAY, FAINT, VERMILION, BLUE, VIOLET = DARK
SETTINGS: Any = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    # The same numbers must give the same file: fixed ids, and text as outlines, so that no font of the reader matters.
    "svg.hashsalt": "bnlint",
    "svg.fonttype": "path",
}
CASES = {
    (): ("gradient flows", BLUE),
    ("mean",): ("mean stopped", VERMILION),
    ("var",): ("variance stopped", VIOLET),
    ("mean", "var"): ("both stopped", INK),
}
VALUES = (-1.9, -1.1, -0.55, 0.1, 0.5, 1.15, 1.8)
ARRIVING = (0.5, 0.75, 0.15, 0.55, -0.3, -0.2, -0.65)
BATCH = 64


class Norm(nn.BatchNorm2d):
    """Batch normalization by hand, some of whose statistics are stopped."""

    stops: tuple[str, ...] = ()

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mean = input.mean((0, 2, 3), keepdim=True)
        var = input.var((0, 2, 3), keepdim=True, correction=0)
        mean = mean.detach() if "mean" in self.stops else mean
        var = var.detach() if "var" in self.stops else var
        shape = (1, -1, 1, 1)
        return (input - mean) * torch.rsqrt(var + self.eps) * self.weight.view(shape) + self.bias.view(shape)


def with_stops(model: nn.Module, stops: tuple[str, ...]) -> nn.Module:
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            norm = Norm(child.num_features)
            norm.stops = stops
            setattr(model, name, norm)
        else:
            with_stops(child, stops)
    return model


def step_of(stops: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """Return minus the gradient of seven values of one channel."""
    x = torch.tensor(VALUES, dtype=torch.float64).view(-1, 1, 1, 1).requires_grad_()
    norm = Norm(1, eps=0.0).double()
    norm.stops = stops
    norm(x).backward(torch.tensor(ARRIVING, dtype=torch.float64).view(-1, 1, 1, 1))
    assert x.grad is not None
    return -x.grad.flatten().numpy()


def cosines(stops: tuple[str, ...], true: list[torch.Tensor]) -> list[float]:
    """Return the cosine of each convolution's gradient to the true one, from the last layer to the first."""
    return [float(F.cosine_similarity(a, b, dim=0)) for a, b in zip(gradients(stops), true, strict=True)]


def gradients(stops: tuple[str, ...]) -> list[torch.Tensor]:
    digits = load_digits()
    images = torch.tensor(digits.images[:BATCH], dtype=torch.float64).unsqueeze(1) / 16
    images = F.interpolate(images, size=(32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    torch.manual_seed(0)
    model = with_stops(resnet18(num_classes=10), stops).double().train()
    F.cross_entropy(model(images), torch.tensor(digits.target[:BATCH])).backward()
    convolutions = [p for name, p in model.named_parameters() if p.ndim == 4 and "downsample" not in name]
    return [p.grad.flatten() for p in reversed(convolutions) if p.grad is not None]


def draw_steps() -> Figure:
    figure = Figure(figsize=(8.2, 5.0), facecolor=PAPER)
    x = np.array(VALUES)
    rows: Iterable[Axes] = figure.subplots(len(CASES), 1, sharex=True)
    for axes, (stops, (name, color)) in zip(rows, CASES.items(), strict=True):
        step = step_of(stops)
        moved = x + step
        for y, values, shade, label in ((-0.75, x, GRAY, "before"), (-1.35, moved, color, "after")):
            low, mid, high = values.mean() - values.std(), values.mean(), values.mean() + values.std()
            axes.plot([low, high], [y, y], color=shade, linewidth=5, solid_capstyle="butt", alpha=0.85)
            axes.plot([mid, mid], [y - 0.24, y + 0.24], color=shade, linewidth=2.4)
            axes.text(-2.75, y, label, color=shade, va="center", ha="right", fontsize=9.5)
        heights = np.where(np.arange(len(x)) % 2 == 0, 0.0, 0.5)
        for start, end, height in zip(x, moved, heights, strict=True):
            axes.annotate(
                "", (end, height), (start, height), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.9}
            )
        axes.scatter(x, heights, s=34, color=GRAY, zorder=3)
        axes.set(ylim=(-1.75, 0.95), yticks=[], xlim=(-3.2, 2.8))
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.axvline(0, color=FAINT, linewidth=0.9, zorder=0)
        axes.tick_params(axis="x", length=0, labelbottom=False)
        axes.set_title(name, loc="left", fontweight="bold", fontsize=11.5, color=color, pad=1)
    figure.subplots_adjust(left=0.02, right=0.98, top=0.95, bottom=0.02, hspace=0.26)
    return figure


def draw_depth() -> Figure:
    figure = Figure(figsize=(8.2, 3.6), facecolor=PAPER)
    axes = figure.subplots()
    true = gradients(())
    layers = np.arange(1, len(true) + 1)
    axes.axhline(1, color=BLUE, linewidth=2)
    axes.text(len(true) + 0.3, 1, "gradient flows", color=BLUE, va="center", fontweight="bold")
    for stops, (name, color) in list(CASES.items())[1:]:
        curve = cosines(stops, true)
        print(f"{name}: {', '.join(f'{value:.2f}' for value in curve)}")
        axes.plot(layers, curve, color=color, linewidth=2.2, marker="o", markersize=4)
        height = curve[-1] + {"mean": 0.02, "var": 0.05}.get("".join(stops), -0.02)
        axes.text(len(true) + 0.3, height, name, color=color, va="center", fontweight="bold")
    axes.set(ylim=(0.5, 1.03), xlim=(0.5, len(true) + 0.2), yticks=[0.5, 0.6, 0.7, 0.8, 0.9, 1], xticks=layers)
    axes.set_xlabel("convolution, from the last to the first: the way that the gradient goes")
    axes.set_title("cosine of its gradient to the true one", loc="left", fontweight="bold", fontsize=12)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    figure.subplots_adjust(left=0.06, right=0.8, top=0.9, bottom=0.15)
    return figure


def for_light_and_dark(svg: str) -> str:
    """Let the reader's system choose the colors; where CSS variables are unknown, the light ones hold."""
    for color in DARK:
        svg = re.sub(color, f"var(--c{color[1:]}, {color})", svg, flags=re.IGNORECASE)
    dark = " ".join(f"--c{light[1:]}: {dark};" for light, dark in DARK.items())
    style = f"<style>@media (prefers-color-scheme: dark) {{ svg {{ {dark} }} }}</style>"
    return re.sub(r"(<svg [^>]*>)", rf"\1\n {style}", svg, count=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER", help="where the pictures go")
    folder = parser.parse_args().output
    for name, draw in {"why_step.svg": draw_steps, "why_depth.svg": draw_depth}.items():
        with mpl.rc_context(SETTINGS):
            draw().savefig(folder / name, metadata={"Date": None, "Creator": None})
        file = folder / name
        file.write_text(for_light_and_dark(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
