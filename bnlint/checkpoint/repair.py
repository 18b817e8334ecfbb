"""Repair a checkpoint file: load it, repair its models, write it, read it again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnlint.certificate import Certificate
from bnlint.checkpoint.formats import Checkpoint, load, modules, save
from bnlint.checkpoint.trust import Trust
from bnlint.errors import InputError, RepairError
from bnlint.model.check import check_layers, require_measured
from bnlint.model.inputs import Inputs
from bnlint.model.layers import Checked, find_layers
from bnlint.repairs.apply import repair_checked


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a checkpoint.

    Attributes:
        certificates: One per layer with a wrong gradient.
        written: Whether the output was written.
        needs: Modules outside torch that the output needs in order to load, such as `bnlint.layers`.
    """

    certificates: tuple[Certificate, ...]
    written: bool
    needs: tuple[str, ...]


def check_checkpoint(
    checkpoint: Checkpoint, inputs: Inputs, progress: Callable[[str], None] | None = None
) -> list[Checked]:
    """Measure the normalization layers of every model in a checkpoint.

    Raises:
        InputError: It holds no model, or none of its layers could be measured.
    """
    found = modules(checkpoint.content)
    if not found:
        raise InputError(
            "holds no model, only tensors or other values; a state dict has no layers to check",
            where=str(checkpoint.path),
            hint="check the code of its model: bnlint check PKG.MODULE:FACTORY --input 8x3x32x32",
        )
    checked: list[Checked] = []
    for name, model in found:
        given = inputs.fitted(model)
        for item in check_layers(find_layers(model, given.args, given.kwargs), progress):
            path = ".".join(part for part in (name, item.layer.path) if part)
            checked.append(replace(item, layer=replace(item.layer, path=path)))
    require_measured(checked)
    return checked


def repair_checkpoint(
    path: Path,
    output: Path,
    trust: Trust,
    inputs: Inputs | None = None,
    *,
    adopt_torch_conventions: bool = False,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    recalibrate: Callable[[nn.Module], None] | None = None,
) -> Repaired:
    """Repair the models of a checkpoint and write the result; nothing is written unless every wrong layer is proved.

    Args:
        path: The checkpoint; never opened for writing unless it is also the output.
        output: Where to write.
        trust: What the file may use (see `trust`).
        inputs: Inputs of the models; none to assume them.
        adopt_torch_conventions: See `repair`.
        device: Where to measure.
        progress: Called with the path of each layer that is measured or repaired.
        recalibrate: Called with each model once it is repaired, to recompute its running statistics.

    Raises:
        RepairError: A layer could not be repaired.
        InputError: The file cannot be read or written.
        UntrustedError: It needs something that nobody named.
    """
    checkpoint = load(path, trust, map_location=device)
    checked = check_checkpoint(checkpoint, (inputs or Inputs()).to(device), progress)
    certificates = repair_checked(checked, adopt_torch_conventions=adopt_torch_conventions, progress=progress)
    refused = [c for c in certificates if not c.accepted]
    if refused:
        lines = "\n".join(f"  {c.module} ({c.class_before}): {c.reason}" for c in refused)
        raise RepairError(
            f"{len(refused)} of {len(certificates)} layers could not be repaired; nothing was written:\n{lines}",
            where=str(path),
            hint="correct the source instead: bnlint fix FILE.py",
        )
    if certificates and recalibrate is not None:
        for _, model in modules(checkpoint.content):
            recalibrate(model)
    if certificates:
        save(checkpoint.content, output, verify=lambda file: _verify(file, checkpoint, trust), names=checkpoint.names)
    needs = {type(m).__module__ for _, model in modules(checkpoint.content) for m in model.modules()}
    foreign = sorted(name for name in needs if not name.startswith(("torch.", "torchvision.", "timm.")))
    return Repaired(tuple(certificates), bool(certificates), tuple(foreign))


def _verify(file: Path, checkpoint: Checkpoint, trust: Trust) -> None:
    """Read the written file as a user would, and compare every tensor and class with what was meant."""
    again = load(file, trust, map_location="cpu")
    ours, theirs = modules(checkpoint.content), modules(again.content)
    for (name, model), (_, copy) in zip(ours, theirs, strict=True):
        if [type(m).__name__ for m in model.modules()] != [type(m).__name__ for m in copy.modules()]:
            raise InputError(f"what was written does not read back as the same layers ({name})", where=str(file))
        for key, value in model.state_dict().items():
            if not _same(value, copy.state_dict()[key]):
                raise InputError(f"`{key}` does not read back as it was written", where=str(file))


def _same(ours: Any, theirs: Any) -> bool:
    if not isinstance(ours, Tensor):
        return bool(ours == theirs)
    ours = ours.detach().cpu()
    return ours.dtype == theirs.dtype and torch.equal(ours.nan_to_num(), theirs.nan_to_num())
