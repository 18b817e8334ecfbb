"""A layer's float64 copy in a state where no two of its tensors can be mistaken for each other."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bnlint.model.state import detached_copy

#: how names of running variances and of their roots end
_SPREADS = ("var", "variance", "std")


def disturbed(layer: nn.Module) -> nn.Module:
    """Copy a layer in float64, with values of its own in each parameter and running statistic.

    An untrained layer has weights of one, biases of zero and running statistics of a standard normal: there many
    wrong layers compute the right thing. Two layers with tensors of the same names get the same values.
    """
    copy = detached_copy(layer).double()
    named = sorted([*copy.named_parameters(), *copy.named_buffers()], key=lambda pair: pair[0])
    with torch.no_grad():
        for seed, (name, tensor) in enumerate(named):
            tensor.copy_(_values(name, tensor, seed))
    return copy


def _values(name: str, like: Tensor, seed: int) -> Tensor:
    if not like.is_floating_point():
        return like + 3
    values = torch.randn(like.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.abs() + 0.5 if _spreads(name, like) else values + 0.25


def _spreads(name: str, like: Tensor) -> bool:
    """Whether a buffer may hold running variances, of which a root is taken: by its name, or as none is negative."""
    if isinstance(like, nn.Parameter):
        return False
    return name.endswith(_SPREADS) or bool((like > 0).all())
