"""The first rung where processes share statistics: `torch.nn.SyncBatchNorm`.

In training that does with the batches of all processes what batch normalization does with one: mean and variance are
those of all values, however these are spread over the processes, the running variance is corrected by their number, and
the gradient is that of the losses of all. So a layer is held against torch's batch normalization of the whole batch, in
processes that are played (`together.py`), whose parts of the batch differ in size.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from bnlint.errors import RepairError
from bnlint.layers import UnstoppedNorm
from bnlint.model.layers import Layer
from bnlint.model.measure import Measured
from bnlint.model.memory import tensors_in
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy
from bnlint.operations import SizeError, all_reduced, world_size
from bnlint.repairs.behavior import recognize_by_behavior
from bnlint.repairs.candidates import NATIVE, Candidate, require_one_tensor
from bnlint.repairs.certify import Proof, prove, require_same_tensors, worst_of
from bnlint.repairs.conventions import BUFFERS, Conventions, conventions_of
from bnlint.repairs.families import BATCH
from bnlint.repairs.native import build, build_synchronized, flatten
from bnlint.repairs.recognize import Recipe
from bnlint.repairs.samples import call_of, samples_of, samples_of_call
from bnlint.repairs.together import Together
from bnlint.repairs.unstop import PROCESSES, SIZE, depends_on, unstop

#: where torch's layer trains in a process group; on a CPU it raises, whatever the group
DEVICES = frozenset({"cuda"})
#: what part of a batch each process has: all the same, and each another
EVEN, UNEVEN = (1, 1), (1, 2, 3)


def synchronized_candidate(layer: Layer, measured: Measured, adopt: bool) -> Candidate:
    """Build torch's own synchronized layer; it has no conventions but torch's, and others are given up to `adopt` it.

    Args:
        layer: A layer that shares its statistics.
        measured: What was measured of it.
        adopt: Whether conventions that differ from torch's may be given up.

    Raises:
        RepairError: Torch's layer would not do what the layer does, or could not run where it runs.
    """
    module, call = layer.module, call_of(layer.module, layer.call)
    require_one_tensor(layer)
    _require_device(module, call)
    twin = unstop(module, call, held=False)
    _require_shared_in_training_alone(twin)
    try:
        return _proved(module, call, twin, measured, adopt)
    except SizeError:
        raise RepairError(f"what it does depends on the {PROCESSES}") from None


def _proved(module: nn.Module, call: Call, twin: UnstoppedNorm, measured: Measured, adopt: bool) -> Candidate:
    even, uneven = (Together.of(twin, shares) for shares in (EVEN, UNEVEN))
    recipe = _recipe(module, even, measured)
    if SIZE in depends_on(module, call, recipe.fixed):
        raise RepairError(f"what it does depends on the {SIZE}")
    found, momentum = conventions_of(even, recipe)
    if getattr(module, "running_mean", None) is None:  # then torch's layer evaluates by the batch, too
        found = replace(found, batch_statistics_in_eval=False, no_updates=False)
    built = build_synchronized(module, recipe, momentum, twin.process_group)
    require_same_tensors(module, built)
    alone = prove(module, twin, samples_of_call(module, twin, call), adopted=False)
    whole = build(twin, recipe, replace(found, no_count=False), momentum)
    shared = _against(uneven, whole, recipe)
    if shared.failure(adopted=False) is not None:
        found, shared = replace(found, equal_batches_alone=True), _against(even, whole, recipe)
    failure = alone.failure(adopted=False) or shared.failure(adopted=False)
    differences = tuple(replace(found, no_count=False))
    if failure is None and differences and not adopt:
        raise RepairError(f"unlike torch.nn.SyncBatchNorm, it {' and '.join(differences)}")
    if failure is None and differences:
        torchs = detached_copy(build(twin, recipe, Conventions(), momentum))
        flatten(torchs)
        shared = _against(uneven, torchs, recipe, adopted=True)
        failure = shared.failure(adopted=True)
    return Candidate(built, worst_of([alone, shared]), failure, NATIVE, (), tuple(found), stale=found.no_updates)


def _recipe(module: nn.Module, even: Together, measured: Measured) -> Recipe:
    """Recognize batch normalization of what all processes have, with what torch's layer needs.

    Raises:
        RepairError: It is none, or torch's layer cannot hold what it holds.
    """
    recipe = recognize_by_behavior(even, replace(measured, shape=(2 * measured.shape[0], *measured.shape[1:])))
    if recipe.family is not BATCH:
        raise RepairError(f"it is {recipe.family.name}, and torch shares the statistics of BatchNorm alone")
    if recipe.bias is not None and recipe.weight is None:
        raise RepairError("torch.nn.SyncBatchNorm gives a bias no gradient where there is no weight")
    mean, _, counter = (getattr(module, name, None) for name in BUFFERS)
    if mean is not None and counter is None:
        raise RepairError("torch.nn.SyncBatchNorm counts batches in num_batches_tracked, which it does not have")
    return recipe


def _require_device(module: nn.Module, call: Call) -> None:
    """See that a layer lives where torch's can train.

    Raises:
        RepairError: It does not.
    """
    device = next(iter((*module.parameters(), *module.buffers(), *tensors_in(call)))).device.type
    if device not in DEVICES:
        raise RepairError(f"it is on the {device}, where torch.nn.SyncBatchNorm does not train")


def _require_shared_in_training_alone(twin: UnstoppedNorm) -> None:
    """See that no other process takes part in evaluation, as none does in torch's layer.

    Raises:
        RepairError: One does.
    """
    evaluated = (steps for mode, (_, steps, *_) in twin.programs.items() if mode.startswith("eval"))
    if any(name in {all_reduced.__name__, world_size.__name__} for steps in evaluated for name, *_ in steps):
        raise RepairError("it shares statistics in eval mode too, and torch.nn.SyncBatchNorm in training alone")


def _against(played: Together, whole: nn.Module, recipe: Recipe, *, adopted: bool = False) -> Proof:
    """Compare processes that are played with a layer that gets the batches of all."""
    like = next(iter((*played.parameters(), *played.buffers())), torch.empty(0))
    return prove(played, whole, samples_of(recipe, like, parts=sum(played.shares)), adopted=adopted)
