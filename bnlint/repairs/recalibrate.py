"""Recompute running statistics that a layer never updated, or that its outputs no longer fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import update_bn

from bnlint.errors import InputError
from bnlint.layers import FusedBatchNorm
from bnlint.model.lower import floating
from bnlint.model.state import first_line


def recalibrate(model: nn.Module, batches: Iterable[Any], progress: Callable[[str], None] | None = None) -> int:
    """Recompute the running statistics of every batch normalization in a model, as averages over batches.

    Args:
        model: The model; its training flags and all else stay as they are.
        batches: Its inputs; of a list or tuple the first element.
        progress: Called before each batch.

    Returns:
        The number of batches.

    Raises:
        InputError: There is no batch, or the model does not run on one.
    """
    seen = 0

    def counted() -> Iterator[Any]:
        nonlocal seen
        for batch in batches:
            seen += 1
            if progress is not None:
                progress(f"batch {seen}")
            yield batch

    like = next((tensor for tensor in (*model.parameters(), *model.buffers()) if floating(tensor)), None)
    with _updating(model):
        try:
            update_bn(counted(), model, None if like is None else like.device)
        except Exception as error:  # the user's loader and model may fail in any way
            what = f"batch {seen} cannot be run: {type(error).__name__}: {first_line(error)}"
            raise InputError(what, where="--recalibrate", hint="give batches as in training") from error
    if not seen:
        raise InputError("holds no batch", where="--recalibrate", hint="give batches as in training")
    bad = [name for name, buffer in model.named_buffers() if "running" in name and not buffer.isfinite().all()]
    if bad:
        raise InputError(f"makes `{bad[0]}` infinite or NaN", where="--recalibrate", hint="give batches as in training")
    return seen


@contextmanager
def _updating(model: nn.Module) -> Iterator[None]:
    """Let layers update their running statistics that keep the convention not to; give back flags and momentums."""
    momentums = [(m, m.momentum) for m in model.modules() if isinstance(m, _BatchNorm)]
    layers = [m for m in model.modules() if isinstance(m, FusedBatchNorm) and not m.updates_running_statistics]
    flags = [(module, module.training) for module in model.modules()]
    uncounted = [
        (m, m.running_mean.device) for m, _ in momentums if m.running_mean is not None and m.num_batches_tracked is None
    ]
    for layer in layers:
        layer.updates_running_statistics = True
    for norm, device in uncounted:  # update_bn averages by the counter
        norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
    try:
        yield
    finally:
        for layer in layers:
            layer.updates_running_statistics = False
        for norm, _ in uncounted:
            norm.num_batches_tracked = None
        for norm, momentum in momentums:  # update_bn itself forgets them after an exception
            norm.momentum = momentum
        for module, training in flags:
            module.training = training


def batches_in(value: Any) -> Iterable[Any]:
    """Return the batches in what a file holds or a function gives: one tensor is one batch.

    Raises:
        InputError: It holds none.
    """
    found = [value] if floating(value) else value
    if not isinstance(found, Iterable) or isinstance(found, (str, dict)):
        hint = "give a tensor, a list of batches, or a function that returns a DataLoader"
        raise InputError(f"a {type(value).__name__} is no batches", where="--recalibrate", hint=hint)
    return found
