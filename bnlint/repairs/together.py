"""Several processes played in one: what a rewritten layer does in each, where their batches are parts of one batch."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Self

import torch
from torch import Tensor

from bnlint.layers import UnstoppedNorm
from bnlint.operations import all_reduced, operation, world_size

#: a positional and a keyword part of a call
_Call = tuple[list[Any], dict[str, Any]]


class Together(UnstoppedNorm):
    """A rewritten layer in several processes at once; its input and its output are those of all, one after the other.

    Each process has its own part of the batch and its own buffers, and all have the same parameters. The buffers that
    are seen from outside are those of the first.

    Attributes:
        shares: How large the part of each process is, relative to those of the others.
    """

    shares: tuple[int, ...]

    @classmethod
    def of(cls, layer: UnstoppedNorm, shares: tuple[int, ...]) -> Self:
        """Play processes that run a layer, whose tensors it holds."""
        played = cls()
        vars(played).update(vars(layer))
        played.shares = shares
        return played

    def forward(self, batch: Tensor) -> Tensor:
        """Run every process, step by step; in eval mode, where they share nothing, they are as one."""
        shares = self.shares if self.training else (1,)
        ranks = [self, *(self._other() for _ in shares[1:])]
        steps, stores, output = self._program([batch.dim()])
        values: list[list[Any]] = [[part] for part in torch.split(batch, sizes(len(batch), shares))]
        for name, given, named, recorded in steps:
            calls: list[_Call] = [
                ([rank._value(i, own) for i in given], {key: rank._value(i, own) for key, i in named.items()})
                for rank, own in zip(ranks, values, strict=True)
            ]
            with torch.set_grad_enabled(recorded and torch.is_grad_enabled()):
                for own, result in zip(values, _results(name, calls), strict=True):
                    own.append(result)
        for name, item in stores:
            for rank, own in zip(ranks, values, strict=True):
                rank._store(name, rank._value(item, own))
        return torch.cat([rank._value(output, own) for rank, own in zip(ranks, values, strict=True)])

    def _other(self) -> UnstoppedNorm:
        """Return the layer in another process: with the same parameters, and buffers of the same values."""
        other = UnstoppedNorm()
        vars(other).update(vars(self))
        other._buffers = {name: None if b is None else b.detach().clone() for name, b in self._buffers.items()}
        return other


def sizes(count: int, shares: tuple[int, ...]) -> list[int]:
    """Cut a number into parts that are to each other as `shares`, as far as whole numbers are."""
    ends = [round(count * sum(shares[:end]) / sum(shares)) for end in range(len(shares) + 1)]
    return [end - start for start, end in pairwise(ends)]


def _results(name: str, calls: list[_Call]) -> list[Any]:
    """Return what an operation gives in each process; sums over processes are over these."""
    if name == world_size.__name__:
        return [len(calls)] * len(calls)
    if name == all_reduced.__name__:
        (_, average, *_), _ = calls[0]
        total = torch.stack([given[0] for given, _ in calls]).sum(0)
        return [total / len(calls) if average else total.clone() for _ in calls]
    return [operation(name)(*given, **named) for given, named in calls]
