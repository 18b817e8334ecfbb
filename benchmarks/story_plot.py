"""Draw the picture of the README from the numbers that `examples/silent_batchnorm/train.py --json FILE` writes.

Run it as `python benchmarks/story_plot.py story.json -o docs/images/story.svg`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter
from numpy.typing import NDArray

WINDOW = 10
INK, FAINT = "#333333", "#d9d9d9"
# Okabe and Ito's blue and vermilion stay apart for every kind of color vision; the dashes help in gray print.
STYLES: dict[str, dict[str, Any]] = {
    "native": {"color": "#6b6b6b", "linestyle": (0, (4, 2))},
    "broken": {"color": "#d55e00", "linestyle": "-"},
    "repaired": {"color": "#0072b2", "linestyle": "-"},
}
SETTINGS: Any = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    # The same numbers must give the same file: fixed ids, and text as outlines, so that no font of the reader matters.
    "svg.hashsalt": "bnlint",
    "svg.fonttype": "path",
}

Histories = Mapping[str, Mapping[str, Sequence[float]]]


def running_mean(values: Sequence[float], window: int = WINDOW) -> NDArray[np.float64]:
    """Return the mean of each value and those before it, `window` values at most."""
    return np.array([np.mean(values[max(0, end - window) : end]) for end in range(1, len(values) + 1)])


def spread(heights: Mapping[str, float], gap: float) -> dict[str, float]:
    """Move labels apart, upwards from the lowest, so that none is nearer than `gap` to the next."""
    placed: dict[str, float] = {}
    lowest = -np.inf
    for name in sorted(heights, key=lambda key: heights[key]):
        placed[name] = lowest = max(heights[name], lowest + gap)
    return placed


def draw(histories: Histories) -> Figure:
    """Return the figure: accuracy on the left, loss on the right, each line named at its end."""
    figure = Figure(figsize=(10.4, 3.9), facecolor="white")
    accuracy, loss = figure.subplots(1, 2)
    for name, style in STYLES.items():
        steps = np.arange(1, len(histories[name]["loss"]) + 1)
        accuracy.plot(steps, running_mean(histories[name]["accuracy"]), linewidth=2.4, **style)
        loss.plot(steps, histories[name]["loss"], linewidth=1.7, **style)
    accuracy.set(ylim=(0, 1.02), yticks=[0, 0.25, 0.5, 0.75, 1], yticklabels=["0", "25 %", "50 %", "75 %", "100 %"])
    accuracy.set_title(f"Training accuracy, mean of {WINDOW} steps", loc="left", fontweight="bold", fontsize=12)
    loss.set_yscale("log")
    loss.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    loss.tick_params(which="minor", left=False)
    loss.set_title("Training loss, on a log scale", loc="left", fontweight="bold", fontsize=12)
    for axes in (accuracy, loss):
        axes.set(xlabel="step", xlim=(1, len(steps)))
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
        axes.set_axisbelow(True)
    figure.subplots_adjust(left=0.06, right=0.91, top=0.91, bottom=0.14, wspace=0.42)
    name_lines(accuracy, {name: float(running_mean(h["accuracy"])[-1]) for name, h in histories.items()})
    name_lines(loss, {name: h["loss"][-1] for name, h in histories.items()})
    return figure


def name_lines(axes: Axes, ends: Mapping[str, float]) -> None:
    """Write each line's name right of its last value, in its color."""
    to_fraction = axes.transScale + axes.transLimits
    heights = {name: float(to_fraction.transform((1, value))[1]) for name, value in ends.items()}
    for name, height in spread(heights, gap=0.07).items():
        color = STYLES[name]["color"]
        axes.text(1.02, height, name, transform=axes.transAxes, color=color, va="center", fontweight="bold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("numbers", type=Path, help="the file that train.py --json wrote")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="the picture (.svg or .png)")
    options = parser.parse_args()
    with mpl.rc_context(SETTINGS):
        figure = draw(json.loads(options.numbers.read_text(encoding="utf-8")))
        metadata = {"Date": None, "Creator": None} if options.output.suffix == ".svg" else None
        figure.savefig(options.output, metadata=metadata, dpi=150)


if __name__ == "__main__":
    main()
