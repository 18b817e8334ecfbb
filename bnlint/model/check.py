"""The runtime check: a live model in, findings out, each with a measured gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import nn

from bnlint.errors import BnlintError, CaptureWarning, InputError
from bnlint.finding import Finding
from bnlint.model.callers import of_user
from bnlint.model.layers import Checked, Layer, find_layers
from bnlint.model.measure import measure
from bnlint.model.verdict import findings_of


def check_model(model: nn.Module, *args: Any, **kwargs: Any) -> list[Finding]:
    """Measure whether gradients flow through the batch statistics of every normalization in a model.

    The model is run once in training mode on the given inputs, and recorded; each layer that normalizes is
    then measured on a small float64 copy, and each normalization in no layer of its own on its part of the recorded
    step. The model is left exactly as found. Without inputs they are assumed from what its layers take; where none
    fits, every custom normalization layer whose parameters tell its shape is measured on its own.

    What could not be measured or seen, and what was assumed, is told as a `CaptureWarning`.

    Args:
        model: The model, on any device.
        *args: Its inputs, as in `model(*args, **kwargs)`.
        **kwargs: Its keyword inputs.

    Returns:
        One finding per stopped statistic of each layer, in the order of the layers.

    Raises:
        InputError: The model cannot be run on these inputs.
    """
    return judged(find_layers(model, args, kwargs))


def judged(layers: list[Layer]) -> list[Finding]:
    """Measure layers and judge them; one that cannot be measured is told as a `CaptureWarning`."""
    findings: list[Finding] = []
    for checked in check_layers(layers):
        if checked.problem is not None:
            what = f"not measured: {checked.layer.path or checked.layer.class_name}: {checked.problem}"
            warnings.warn(what, CaptureWarning, stacklevel=of_user())
        findings += findings_of(checked)
    return findings


def check_layers(layers: list[Layer], progress: Callable[[str], None] | None = None) -> Iterator[Checked]:
    """Measure layers one by one; one that cannot be measured says why and does not stop the others."""
    for layer in layers:
        if progress is not None:
            progress(layer.path)
        try:
            yield Checked(layer, measure(layer.module, layer.call))
        except BnlintError as error:
            yield Checked(layer, None, error.what)


def require_measured(checked: list[Checked]) -> None:
    """Fail when there were layers to measure and not one could be."""
    if checked and all(c.measured is None for c in checked):
        raise InputError(
            f"none of {len(checked)} normalization layers could be measured: {checked[0].problem}",
            where=checked[0].layer.path or checked[0].layer.class_name,
            hint="pass an input of the model: --input 8x3x32x32",
        )
