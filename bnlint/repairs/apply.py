"""Repair a live model in place, layer by layer, each with a certificate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from bnlint.certificate import Certificate
from bnlint.errors import BnlintError, RepairError
from bnlint.flow.judged import traits
from bnlint.flow.traits import Gradient, Kind
from bnlint.model.capture import plain_run
from bnlint.model.check import check_layers, require_measured
from bnlint.model.layers import Checked, Layer, find_layers
from bnlint.model.measure import Measured
from bnlint.model.state import first_line, random_state
from bnlint.repairs.candidates import REFUSED, Candidate, holds_layers, native_candidate, unstopped_candidate
from bnlint.repairs.exchange import lost_exchange, shares_statistics
from bnlint.repairs.native import expect_no_counter, flatten
from bnlint.repairs.synchronized import synchronized_candidate

_PLAIN = (bool, int, float, str)


def repair(
    model: nn.Module, *inputs: Any, inplace: bool = True, adopt_torch_conventions: bool = False, **kwargs: Any
) -> list[Certificate]:
    """Rewrite every layer whose measured gradient is wrong into torch's own correct normalization.

    Each layer is rebuilt on torch's fused operator with its own parameter and buffer objects, and replaced only
    if a proof is found: same outputs in training and eval mode, same buffer updates, gradient equal to a float64
    reference. Module objects stay the same objects (their class changes), so hooks, optimizers and other
    references to them stay valid. Runs where the model is; on a GPU nothing goes through the host but scalars.

    Args:
        model: The model.
        *inputs: Its inputs; none to repair every custom layer whose parameters tell its shape.
        inplace: Whether to change the model; False only proves.
        adopt_torch_conventions: Whether to give up conventions that differ from torch's (an unbiased variance,
            batch statistics in eval mode), which changes outputs, for plain torch classes.
        **kwargs: Keyword inputs.

    Returns:
        One certificate per layer with a wrong gradient, refused ones included.
    """
    with torch.inference_mode(False), torch.enable_grad():
        checked = list(check_layers(find_layers(model, inputs, kwargs)))
    require_measured(checked)
    certificates = repair_checked(checked, inplace=inplace, adopt_torch_conventions=adopt_torch_conventions)
    if inplace:  # a file that is repaired holds the numbers too, and needs no bnlint where torch has a class
        for item in checked:
            expect_no_counter(_whole(item.layer).module)
    return certificates


def repair_checked(
    checked: list[Checked],
    *,
    inplace: bool = True,
    adopt_torch_conventions: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[Certificate]:
    """Repair the layers that were measured to be wrong; normalizations that are written in one layer, together."""
    certificates: list[Certificate] = []
    done: set[int] = set()
    for item in checked:
        if item.measured is not None and (item.measured.wrong or exchanges(item.measured)):
            layer = _whole(item.layer)
            if id(layer.module) in done:
                continue
            if progress is not None:
                progress(layer.path)
            certificate, built = _repaired(layer, item.measured, adopt_torch_conventions)
            certificates.append(certificate)
            if built is not None:
                done.add(id(layer.module))
                if inplace:
                    become(layer.module, built)
                    flatten(layer.module)
    return certificates


def exchanges(measured: Measured) -> bool:
    """Whether processes exchange a statistic in place: wrong, and one process alone cannot measure it."""
    stopped = [
        s for site in measured.sites for s in site.statistics if s.gradient is Gradient.STOPPED and s.purpose is None
    ]
    return any(measured.lowered.graph[stop].name == "collective" for s in stopped for stop in s.stops)


def _whole(layer: Layer) -> Layer:
    """Return the layer that operations are written in, if it does nothing that a rewritten layer could not do."""
    if layer.around is None or holds_layers(layer.around[0]):
        return layer
    module, call = layer.around
    return replace(layer, module=module, call=call)


def become(layer: nn.Module, built: nn.Module) -> None:
    """Turn a module object into another one; whoever holds the object sees the change.

    Plain values that the user's layer carried (a width, a name) stay readable on it.
    """
    kept = {name: value for name, value in vars(layer).items() if isinstance(value, _PLAIN) and name not in vars(built)}
    vars(layer).clear()
    vars(layer).update(vars(built) | kept)
    layer.__class__ = type(built)


def _repaired(layer: Layer, measured: Measured, adopt: bool) -> tuple[Certificate, nn.Module | None]:
    """Try the rungs of the ladder, and say why each one before was left."""
    name = layer.class_name
    if any(trait.kind is Kind.RUNNING_IN_TRAINING for trait in traits(measured.lowered.graph, measured.sites)):
        reason = (
            "it normalizes by running statistics in training, through which no gradient flows: see `bnlint rule BN106`"
        )
        return Certificate(layer.path, name, name, REFUSED, False, reason), None
    reasons: list[str] = []
    for attempt in (_first_candidate, unstopped_candidate):
        try:
            if parametrize.is_parametrized(layer.module):
                raise RepairError("its parameters are computed by a parametrization")
            if not layer.whole or holds_layers(layer.module):
                what = f"it is written inside {name}, which holds other modules or does more than normalize"
                raise RepairError(f"{what}: correct the source, bnlint fix")
            with _as_alone(layer.module):
                found = attempt(layer, measured, adopt)
                lost = lost_exchange(layer) if found.failure is None else None
        except BnlintError as error:
            reasons.append(error.what)
        except Exception as error:  # on its own, the user's layer may fail in any way
            reasons.append(f"it could not be run on its own: {type(error).__name__}: {first_line(error)}")
        else:
            if lost is not None:
                return Certificate(layer.path, name, name, REFUSED, False, lost), None
            if found.failure is None:
                return _certificate(layer, found, reasons), found.layer
            reasons.append(found.failure)
    return Certificate(layer.path, name, name, REFUSED, False, "; ".join(dict.fromkeys(reasons))), None


def _first_candidate(layer: Layer, measured: Measured, adopt: bool) -> Candidate:
    attempt = synchronized_candidate if shares_statistics(layer) else native_candidate
    return attempt(layer, measured, adopt)


@contextmanager
def _as_alone(module: nn.Module) -> Iterator[None]:
    """Run layers with gradients and in their own precision, whatever the training around the repair does."""
    devices = {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} | {"cpu"}
    with ExitStack() as modes:
        modes.enter_context(plain_run())
        modes.enter_context(random_state())
        for device in devices:
            if torch.amp.is_autocast_available(device):
                modes.enter_context(torch.autocast(device, enabled=False))
        yield


def _certificate(layer: Layer, found: Candidate, reasons: list[str]) -> Certificate:
    return Certificate(
        layer.path,
        layer.class_name,
        type(found.layer).__name__,
        found.rung,
        True,
        "; ".join(reasons),
        found.kept,
        found.adopted,
        found.stale,
        **asdict(found.proof),
    )
