"""Repair a checkpoint file: load it, repair its models, write it, read it again."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bnlint.atomic import write
from bnlint.certificate import Certificate
from bnlint.checkpoint.follow import Move, follow, held, moves
from bnlint.checkpoint.formats import Checkpoint, load, load_folder, modules, save
from bnlint.checkpoint.models import Factory, Opened, check_models, opened
from bnlint.checkpoint.state_dicts import state_dicts
from bnlint.checkpoint.trust import Trust
from bnlint.checkpoint.verify import require_same
from bnlint.errors import RepairError, UsageError
from bnlint.model.inputs import Inputs
from bnlint.model.layers import Checked
from bnlint.repairs.apply import repair_checked


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the class of a layer with a wrong gradient is written; no file for a class that has none."""

    name: str
    file: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a checkpoint.

    Attributes:
        certificates: One per layer with a wrong gradient.
        written: Whether the output was written.
        needs: Modules outside torch that the output needs in order to load, such as `bnlint.layers`.
        states: The state dicts of a file that holds no model, in words; the layers to repair are in its code.
        moved: The tensors of a model that got another key or shape.
        origins: The classes of the layers with a wrong gradient.
        measured: How many layers were measured.
        problems: The layers that could not be, and why.
    """

    certificates: tuple[Certificate, ...]
    written: bool
    needs: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    moved: tuple[Move, ...] = ()
    origins: tuple[Origin, ...] = ()
    measured: int = 0
    problems: tuple[tuple[str, str], ...] = ()


def repair_checkpoint(
    path: Path,
    output: Path,
    trust: Trust,
    inputs: Inputs | None = None,
    *,
    factory: Factory | None = None,
    adopt_torch_conventions: bool = False,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
    recalibrate: Callable[[nn.Module], None] | None = None,
) -> Repaired:
    """Repair the models of a checkpoint and write the result; nothing is written unless every wrong layer is proved.

    A state dict holds no layers. It is repaired together with its model: what is written has the keys and shapes that
    the repaired model has, which are mostly the same; then the output is a copy.

    Args:
        path: The checkpoint; never opened for writing unless it is also the output.
        output: Where to write.
        trust: What the file may use (see `trust`).
        inputs: Inputs of the models; none to assume them.
        factory: Makes the model that the state dicts of a file without models belong to.
        adopt_torch_conventions: See `repair`.
        device: Where to measure.
        progress: Called with the path of each layer that is measured or repaired.
        recalibrate: Called with each model once it is repaired, to recompute its running statistics.

    Raises:
        RepairError: A layer could not be repaired.
        InputError: The file cannot be read or written.
        UntrustedError: It needs something that nobody named.
    """
    found = opened(load(path, trust, map_location=device), factory)
    if found.states and recalibrate is not None:
        what = "--recalibrate is for models: running statistics belong to the code that will run"
        raise UsageError(
            what, where=str(path), hint="put the code right, then torch.optim.swa_utils.update_bn(loader, model)"
        )
    checked = check_models(found, (inputs or Inputs()).to(device), progress)
    before = [held(model) for _, model in found.models]
    origins = _origins(checked)
    with _one_thread():
        certificates = repair_checked(checked, adopt_torch_conventions=adopt_torch_conventions, progress=progress)
    _require_accepted(certificates, path)
    if recalibrate is not None:  # of layers that were repaired before, too
        for _, model in found.models:
            recalibrate(model)
    moved: list[Move] = []
    for (_, model), had in zip(found.models, before, strict=True):
        made = moves(had, held(model))
        states = found.states or state_dicts(found.checkpoint.content, [item.key for item in had])
        follow(found.checkpoint.content, states, made, had)
        moved += made
    written = bool(certificates or recalibrate) and _written(found, moved, output, trust)
    states_told = tuple(state.name for state in found.states)
    needs = () if found.states else _needs(found)
    problems = tuple((item.layer.path, item.problem) for item in checked if item.problem is not None)
    measured = len(checked) - len(problems)
    return Repaired(tuple(certificates), written, needs, states_told, tuple(moved), origins, measured, problems)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute in one thread: a proof is made of small operations, and threads cost more than they give."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _written(found: Opened, moved: list[Move], output: Path, trust: Trust) -> bool:
    """Write what has changed; a file of state dicts that has not is copied, unless it is its own output."""
    checkpoint = found.checkpoint
    if moved or not found.states:
        save(checkpoint, output, verify=lambda file: _verify(file, checkpoint, trust))
        return True
    if output.exists() and output.samefile(checkpoint.path):
        return False
    if checkpoint.shards is not None:
        from bnlint.checkpoint.shards.write import copy_shards

        copy_shards(checkpoint.shards, output)
        return True
    with checkpoint.path.open("rb") as source:
        write(output, lambda target: shutil.copyfileobj(source, target))
    return True


def _verify(file: Path, checkpoint: Checkpoint, trust: Trust) -> None:
    """Read the written file as a user would, and compare all of it with what was meant."""
    if checkpoint.shards is None:
        require_same(checkpoint.content, load(file, trust, map_location="cpu", sound=True).content, str(file))
        return
    from bnlint.checkpoint.shards.write import require_same_tensors

    written = load_folder(file, trust)
    require_same(checkpoint.content, written.content, str(file.parent))
    if written.shards is not None:
        require_same_tensors(checkpoint.shards, checkpoint.content, written.shards)


def _require_accepted(certificates: list[Certificate], path: Path) -> None:
    refused = [c for c in certificates if not c.accepted]
    if refused:
        # Several normalizations that are written in one layer have a certificate each.
        lines = "\n".join(
            dict.fromkeys(f"  {c.module or '(the model)'} ({c.class_before}): {c.reason}" for c in refused)
        )
        count, all_of = (len({c.module for c in found}) for found in (refused, certificates))
        raise RepairError(
            f"{count} of {all_of} layers could not be repaired; nothing was written:\n{lines}",
            where=str(path),
            hint="correct the source instead: bnlint fix FILE.py",
        )


def _needs(found: Opened) -> tuple[str, ...]:
    # A class of --code has the name of the file's stem here, and in the checkpoint the one that it had there.
    homes = {cls: name.rpartition(".")[0] for name, cls in found.checkpoint.names.items()}
    classes = {type(m) for _, model in modules(found.checkpoint.content) for m in model.modules()}
    needs = {homes.get(cls, cls.__module__) for cls in classes}
    return tuple(sorted(name for name in needs if not name.startswith(("torch.", "torchvision.", "timm."))))


def _origins(checked: Iterable[Checked]) -> tuple[Origin, ...]:
    """Tell where the layers to repair are written, before they become others."""
    wrong = [item.layer for item in checked if item.measured is not None and item.measured.wrong and item.layer.whole]
    return tuple(_origin(cls) for cls in dict.fromkeys(type(layer.module) for layer in wrong))


def _origin(cls: type) -> Origin:
    try:
        return Origin(cls.__name__, inspect.getsourcefile(cls) or "", inspect.getsourcelines(cls)[1])
    except (OSError, TypeError):  # of --code, whose module is gone
        code = getattr(getattr(cls, "forward", None), "__code__", None)
        return Origin(cls.__name__) if code is None else Origin(cls.__name__, code.co_filename, code.co_firstlineno)
