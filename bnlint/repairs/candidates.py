"""What could stand for a layer, on each rung of the ladder, and how it did."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from bnlint.errors import RepairError
from bnlint.model.layers import Layer
from bnlint.model.measure import Measured
from bnlint.model.state import detached_copy
from bnlint.operations import all_reduced
from bnlint.repairs.behavior import recognize_by_behavior
from bnlint.repairs.certify import Proof, prove, require_same_tensors
from bnlint.repairs.conventions import Conventions, conventions_of
from bnlint.repairs.families import BATCH, INSTANCE
from bnlint.repairs.native import build, flatten
from bnlint.repairs.ranks import other_ranks, with_other_ranks
from bnlint.repairs.recognize import Recipe, ReshapedError, recognize
from bnlint.repairs.samples import call_of, first_of, samples_of, samples_of_call
from bnlint.repairs.unstop import depends_on, unstop

NATIVE, UNSTOP, COLLECTIVE, REFUSED = "native", "unstop", "collective", "refused"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layer that could stand for another one, and how it did."""

    layer: nn.Module
    proof: Proof
    failure: str | None
    rung: str
    kept: tuple[str, ...] = ()
    adopted: tuple[str, ...] = ()
    stale: bool = False


def native_candidate(layer: Layer, measured: Measured, adopt: bool) -> Candidate:
    """Build torch's own layer; its conventions are adopted only once the layer's own were proved."""
    module = layer.module
    require_one_tensor(layer)
    recipe = _recipe(layer, measured)
    _require_rank(layer, recipe)
    for asked in depends_on(module, call_of(module, layer.call), recipe.fixed):
        raise RepairError(f"what it does depends on the {asked}")
    found, momentum = conventions_of(module, recipe)
    kept = replace(found, no_count=False)
    built = build(module, recipe, kept, momentum)
    require_same_tensors(module, built)
    samples = samples_of(recipe, next(iter((*module.parameters(), *module.buffers())), torch.empty(0)))
    proof = prove(module, built, samples, adopted=False)
    failure = proof.failure(adopted=False)
    if adopt and failure is None and kept != Conventions():
        kept = Conventions()
        built = build(module, recipe, kept, momentum)
        require_same_tensors(module, built)
        flat = detached_copy(built)
        flatten(flat)
        proof = prove(module, flat, samples, adopted=True)
        failure = proof.failure(adopted=True)
    adopted = tuple(name for name in found if name not in tuple(kept))
    tracks = getattr(module, "running_mean", None) is not None and found.no_updates
    stale = tracks and not kept.batch_statistics_in_eval
    return Candidate(built, proof, failure, NATIVE, tuple(kept), adopted, stale)


def _recipe(layer: Layer, measured: Measured) -> Recipe:
    """Recognize a layer by its operations, or by what it does where these do not tell."""
    if measured.sites:
        try:
            return recognize(layer.module, measured, layer.call)
        except ReshapedError:
            pass
    return recognize_by_behavior(layer.module, measured, layer.call)


def unstopped_candidate(layer: Layer, measured: Measured, adopt: bool) -> Candidate:
    """Take the stops out of the layer itself, which keeps its own conventions whatever is adopted elsewhere."""
    call = call_of(layer.module, layer.call)
    built = unstop(layer.module, call)
    require_same_tensors(layer.module, built)
    proof = prove(layer.module, built, samples_of_call(layer.module, built, call), adopted=False)
    if proof.failure(adopted=False) is None:
        proof = with_other_ranks(layer.module, built, call, proof)
    steps = built.programs["train"][1]
    rung = COLLECTIVE if any(name == all_reduced.__name__ for name, *_ in steps) else UNSTOP
    return Candidate(built, proof, proof.failure(adopted=False), rung)


def _require_rank(layer: Layer, recipe: Recipe) -> None:
    """See that no input of another rank may come than torch's layer takes, where none was seen."""
    if layer.call is None and recipe.family in (BATCH, INSTANCE):
        ranks = {first_of(call).dim() for call in other_ranks(layer.module, call_of(layer.module, None))}
        if not ranks | {recipe.rank} <= {2, 3} and ranks:
            raise RepairError("nothing tells how many dimensions its inputs have, and torch's layers take one number")


def require_one_tensor(layer: Layer) -> None:
    """See that a layer is called as torch's own are, or its callers would fail after the repair."""
    if layer.call is None:
        return
    args, kwargs = layer.call
    if len(args) + len(kwargs) != 1 or not kwargs.keys() <= {"input"}:
        given = ", ".join([*("…" for _ in args), *(f"{name}=…" for name in kwargs)])
        raise RepairError(f"it is called with ({given}), and torch's layers take one tensor")


def holds_layers(module: nn.Module) -> bool:
    """Whether a layer holds modules that hold tensors or hooks of their own."""
    children = [child for child in module.modules() if child is not module]
    return any(
        [*child.parameters(), *child.buffers(), *child._forward_hooks, *child._forward_pre_hooks] for child in children
    )
