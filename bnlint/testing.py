"""For unit tests of normalization layers: one line says that gradients flow through their statistics."""

from __future__ import annotations

from typing import Any

from torch import nn

from bnlint.errors import InputError
from bnlint.model.check import check_layers
from bnlint.model.layers import find_layers, natives
from bnlint.model.verdict import findings_of
from bnlint.report.sentences import by_harm, told, wrong


def assert_gradients_flow(model: nn.Module, /, *inputs: Any, **kwargs: Any) -> None:
    """Fail where a gradient does not flow through the statistics of a normalization, or is otherwise wrong.

    It measures what `bnlint.check_model` measures. Notes, which tell of stops that are meant, do not fail. Nothing
    passes unmeasured: what could not be checked is an error.

    Args:
        model: The model, or a single layer, on any device. It is left exactly as found.
        *inputs: Its inputs, as in `model(*inputs, **kwargs)`; without any they are assumed.
        **kwargs: Its keyword inputs.

    Raises:
        AssertionError: With the findings, the most harmful first, each at the line of its stop.
        InputError: The model cannot be run on these inputs, a layer of it cannot be measured, or nothing in it
            normalizes.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    name = type(model).__name__
    checked = list(check_layers(find_layers(model, inputs, kwargs)))
    for each in checked:
        if each.problem is not None:
            raise InputError(f"cannot be measured: {each.problem}", where=each.layer.path or each.layer.class_name)
    if not checked and not natives(model):
        raise InputError("no normalization was found in it, so there is nothing to assert", where=name)
    findings = wrong(by_harm(finding for each in checked for finding in findings_of(each)))
    if findings:
        raise AssertionError(told(findings, name))
