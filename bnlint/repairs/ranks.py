"""Inputs of other ranks than the one that a layer was seen with: as (N, C) beside (N, L, C)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from bnlint.layers import UnstoppedNorm
from bnlint.model.capture import plain_run
from bnlint.model.lift import Lifted
from bnlint.model.lower import floating
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy
from bnlint.repairs.certify import Proof, prove, worst_of
from bnlint.repairs.samples import samples_of_call
from bnlint.repairs.unstop import unstop

_RANKS = (2, 3, 4)
_SIZE = 3


def other_ranks(layer: nn.Module, call: Call) -> Iterator[Call]:
    """Yield a call of each other rank that a layer takes, if all that it takes is one tensor.

    A dimension more or less is the one behind the first or the last, so that channels may be in either place.
    """
    leaves, spec = tree_flatten(call)
    tensors = [at for at, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    if len(tensors) != 1 or not floating(leaves[tensors[0]]):
        return
    like = leaves[tensors[0]]
    for ranks in (range(like.dim() - 1, _RANKS[0] - 1, -1), range(like.dim() + 1, _RANKS[-1] + 1)):
        size = tuple(like.shape)
        for rank in ranks:
            less = [(size[0], *size[2:]), size[:-1]]
            for tried in less if rank < len(size) else [(size[0], _SIZE, *size[1:]), (*size, _SIZE)]:
                generator = torch.Generator().manual_seed(rank)
                leaves[tensors[0]] = torch.randn(tried, generator=generator, dtype=torch.float64).to(like)
                args, kwargs = tree_unflatten(leaves, spec)
                if _runs(layer, (args, kwargs)):
                    yield args, kwargs
                    size = tried
                    break
            else:
                break


def with_other_ranks(layer: nn.Module, built: UnstoppedNorm, call: Call, proof: Proof) -> Proof:
    """Let a rewritten layer take the ranks that the layer takes, each if it is proved; return the proof of them all."""
    proofs = [proof]
    for other in other_ranks(layer, call):
        try:
            twin = unstop(layer, other)
            found = prove(layer, twin, samples_of_call(layer, twin, other), adopted=False)
        except Exception:  # what is written for one rank may fail for another in any way
            continue
        if found.failure(adopted=False) is None and twin.arguments == built.arguments:
            built.others = [*built.others, twin.programs]
            proofs.append(found)
    return worst_of(proofs)


def _runs(layer: nn.Module, call: Call) -> bool:
    """Whether a layer takes a call, and gives as much as it was given."""
    given = next(leaf for leaf in tree_leaves(call) if isinstance(leaf, Tensor))
    try:
        with plain_run(), torch.no_grad(), Lifted():
            for training in (True, False):
                result = detached_copy(layer).double().train(training)(*call[0], **call[1])
                if not any(isinstance(leaf, Tensor) and leaf.shape == given.shape for leaf in tree_leaves(result)):
                    return False
    except Exception:  # the user's layer may fail in any way
        return False
    return True
