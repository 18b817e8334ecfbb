"""Draw the picture and print the tables of what `benchmarks/story.py` wrote.

    python benchmarks/sweep_plot.py story.jsonl -o docs/images/sweep.svg

Above, the accuracy of the last 10 steps against the learning rate, a line per variant through the mean over the seeds,
with bars from the least to the greatest; below, the cosine of each layer's gradient to the true one before the first
step. The tables go to standard output as Markdown.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import story_plot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TITLES = {
    "resnet": "ResNet-18, batch norm",
    "vit": "small ViT, layer norm",
    "transformer": "small transformer, RMS norm",
}
STYLES = story_plot.STYLES | {"corrected": {"color": "#009e73", "linestyle": (0, (1, 1.5))}}
# beside each other, so that the bars of variants that agree can be told apart
OFFSETS = {"native": 0.94, "broken": 1.0, "repaired": 0.98, "corrected": 1.04}

Records = Sequence[dict[str, Any]]


def read(files: Iterable[Path]) -> Records:
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def select(records: Records, **wanted: object) -> Records:
    return [record for record in records if all(record[name] == value for name, value in wanted.items())]


def distinct(records: Records, name: str) -> list[Any]:
    return list(dict.fromkeys(record[name] for record in records))


def accuracies(records: Records, variant: str, lr: float) -> list[float]:
    return [record["accuracy"] for record in select(records, variant=variant, lr=lr)]


def cosines(records: Records, variant: str) -> np.ndarray[Any, Any]:
    """Return one row per seed, one column per layer in the order of the forward pass."""
    seeds = {record["seed"]: record["gradients"] for record in select(records, variant=variant)}
    return np.array([[layer["cosine"] for layer in gradients.values()] for gradients in seeds.values()])


def draw_accuracy(axes: Axes, records: Records) -> None:
    rates = sorted(distinct(records, "lr"))
    for variant, style in STYLES.items():
        values = [accuracies(records, variant, lr) for lr in rates]
        mean = np.array([np.mean(row) for row in values])
        ends = np.array([[np.mean(row) - min(row), max(row) - np.mean(row)] for row in values]).T
        x = np.array(rates) * OFFSETS[variant]
        axes.errorbar(x, mean, ends, linewidth=2, capsize=3, marker="o", markersize=4, label=variant, **style)
    axes.set_xscale("log")
    axes.set(xlabel="learning rate", ylim=(0, 1.03), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_xticks(rates, [f"{lr:g}" for lr in rates])
    axes.set_yticklabels(["0", "25 %", "50 %", "75 %", "100 %"])
    axes.tick_params(axis="x", which="minor", bottom=False)


def draw_gradients(axes: Axes, records: Records) -> None:
    for variant in ("broken", "repaired"):
        rows = cosines(records, variant)
        layers = np.arange(1, rows.shape[1] + 1)
        axes.fill_between(layers, rows.min(0), rows.max(0), color=STYLES[variant]["color"], alpha=0.25, linewidth=0)
        axes.plot(layers, rows.mean(0), linewidth=2, **STYLES[variant])
    axes.set(xlabel="weight, from the first layer to the last", ylim=(0, 1.05), xlim=(0.5, len(layers) + 0.5))


def draw(records: Records) -> Figure:
    models = [name for name in TITLES if name in distinct(records, "model")]
    figure = Figure(figsize=(11.4, 6.6), facecolor="white")
    grid = figure.subplots(2, len(models), squeeze=False)
    for model, above, below in zip(models, grid[0], grid[1], strict=True):
        mine = select(records, model=model)
        draw_accuracy(above, mine)
        draw_gradients(below, mine)
        above.set_title(TITLES[model], loc="left", fontweight="bold", fontsize=12)
        for axes in (above, below):
            axes.grid(axis="y", color=story_plot.FAINT, linewidth=0.7)
            axes.set_axisbelow(True)
    grid[0][0].set_ylabel("training accuracy, last 10 steps")
    grid[1][0].set_ylabel("cosine of its gradient to the true one")
    grid[0][0].legend(frameon=False, fontsize=9.5, loc="lower left")
    figure.subplots_adjust(left=0.075, right=0.985, top=0.95, bottom=0.08, hspace=0.3, wspace=0.2)
    return figure


def cell(values: Sequence[float]) -> str:
    mean = f"{np.mean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f} to {max(values):.2f})"


def tables(records: Records) -> Iterable[str]:
    """Yield the accuracies of each model, and what the stops do to its gradients."""
    for model in (name for name in TITLES if name in distinct(records, "model")):
        mine = select(records, model=model)
        rates = sorted(distinct(mine, "lr"))
        seeds = ", ".join(map(str, sorted(distinct(mine, "seed"))))
        yield f"\n### {TITLES[model]}\n"
        yield f"{mine[0]['steps']} steps, seeds {seeds}.\n"
        yield "| learning rate | " + " | ".join(f"{lr:g}" for lr in rates) + " |"
        yield "|---|" + "---|" * len(rates)
        for variant in STYLES:
            yield f"| {variant} | " + " | ".join(cell(accuracies(mine, variant, lr)) for lr in rates) + " |"
        yield "\n| gradient before the first step | cosine, first layer | cosine, least | error, largest |"
        yield "|---|---|---|---|"
        for variant in STYLES:
            rows = cosines(mine, variant)
            runs = select(mine, variant=variant)
            error = max(layer["error"] for run in runs for layer in run["gradients"].values())
            yield f"| {variant} | {rows[:, 0].mean():.2f} | {rows.min():.2f} | {error:.1g} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path, nargs="+", help="what story.py wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the picture (.svg or .png)")
    options = parser.parse_args()
    records = read(options.numbers)
    print("\n".join(tables(records)))
    with mpl.rc_context(story_plot.SETTINGS):
        metadata = {"Date": None, "Creator": None} if options.output.suffix == ".svg" else None
        draw(records).savefig(options.output, metadata=metadata, dpi=130)


if __name__ == "__main__":
    main()
