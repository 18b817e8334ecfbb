"""The models of a checkpoint: those that it holds, or the one that its state dicts belong to."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from bnlint.checkpoint.formats import Checkpoint, modules
from bnlint.checkpoint.state_dicts import StateDict, load_state
from bnlint.errors import CaptureWarning, InputError, UsageError
from bnlint.model.check import check_layers, require_measured
from bnlint.model.inputs import Inputs
from bnlint.model.layers import Checked, Layer, find_layers, layers_alone

#: from how many bytes of tensors on a model is not run unasked
_LARGE = 1 << 30
#: makes the model that a state dict belongs to
Factory = Callable[[], nn.Module]


@dataclass(frozen=True, slots=True)
class Opened:
    """A checkpoint and the models to look at.

    Attributes:
        checkpoint: What was read.
        models: Each model with its dotted place, "" for the whole file and for the model of a state dict.
        states: The state dicts of that model; none where the file holds models.
    """

    checkpoint: Checkpoint
    models: Sequence[tuple[str, nn.Module]]
    states: Sequence[StateDict] = ()


def opened(checkpoint: Checkpoint, factory: Factory | None = None) -> Opened:
    """Find the models of a checkpoint.

    Args:
        checkpoint: What was read.
        factory: Makes the model that its state dicts belong to; it gets their values.

    Raises:
        InputError: It holds no model, and no state dict that fits the factory's.
        UsageError: It holds models, and a factory was named too.
    """
    path, found = checkpoint.path, modules(checkpoint.content)
    if found:
        if factory is not None:
            raise UsageError("holds its model, layers and all", where=str(path), hint="leave out --model")
        return Opened(checkpoint, found)
    if factory is None:
        raise InputError(
            "holds no model, only tensors or other values; a state dict has no layers to check",
            where=str(path),
            hint=f"name the code of its model: bnlint check {shlex.quote(str(path))} --model PKG.MODULE:FACTORY",
        )
    model = factory()
    return Opened(checkpoint, [("", model)], load_state(model, checkpoint.content, str(path), checkpoint.read))


def check_models(found: Opened, inputs: Inputs, progress: Callable[[str], None] | None = None) -> list[Checked]:
    """Measure the normalization layers of every model in a checkpoint.

    Raises:
        InputError: None of its layers could be measured.
    """
    checked: list[Checked] = []
    for name, model in found.models:
        given = inputs.fitted(model)
        for item in check_layers(_layers(model, given), progress):
            path = ".".join(part for part in (name, item.layer.path) if part)
            checked.append(replace(item, layer=replace(item.layer, path=path)))
    require_measured(checked)
    return checked


def _layers(model: nn.Module, given: Inputs) -> list[Layer]:
    """Find what to measure; a large model is run only if somebody says on what, for that takes its size thrice."""
    tensors = {id(t): t.nbytes for t in (*model.parameters(), *model.buffers())}
    size = sum(tensors.values())
    if size < _LARGE or given.args or given.kwargs:
        return find_layers(model, given.args, given.kwargs)
    what = (
        f"a model of {size / 2**30:.1f} GiB is not run on assumed inputs: its layers were measured alone, and what is"
    )
    warnings.warn(f"{what} no layer of its own was not seen; --input runs it", CaptureWarning, stacklevel=3)
    return layers_alone(model)
