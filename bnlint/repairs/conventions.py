"""In what a recognized layer differs from torch's own: observed by running copies of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bnlint.errors import RepairError
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.families import BATCH
from bnlint.repairs.recognize import Recipe, same_shape

#: what float64 leaves between one momentum and the same momentum observed again
ROUNDING = 1e-9

#: the state of a batch normalization
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, slots=True)
class Conventions:
    """Where a layer differs from `nn.BatchNorm2d`; all False is torch's own behavior.

    Repaired layers always count batches, which does nothing unless momentum is None: `no_count` is never kept.
    """

    unbiased: bool = False
    batch_statistics_in_eval: bool = False
    no_updates: bool = False
    biased_running_variance: bool = False
    no_count: bool = False
    wide_parameters: bool = False
    equal_batches_alone: bool = False

    def __iter__(self) -> Iterator[str]:
        """Name the differences in plain words."""
        names = {
            "normalizes by the unbiased variance": self.unbiased,
            "uses batch statistics in eval mode": self.batch_statistics_in_eval,
            "never updates its running statistics": self.no_updates,
            "collects the biased variance": self.biased_running_variance,
            "does not count batches in num_batches_tracked": self.no_count,
            "shapes its parameters like (1, C, 1, 1)": self.wide_parameters,
            "treats the batches of all processes as one only where they have one size": self.equal_batches_alone,
        }
        return iter([name for name, holds in names.items() if holds])


def conventions_of(layer: nn.Module, recipe: Recipe) -> tuple[Conventions, float | None]:
    """Observe a layer's conventions, and the momentum of its running statistics.

    The layer is run on copies; it does not change.

    Raises:
        RepairError: It keeps other state than torch's running statistics, or updates it in another way.
    """
    found, momentum = _observed(layer, recipe)
    wide = recipe.family is BATCH and any(parameter.dim() > 1 for parameter in layer.parameters())
    return replace(found, wide_parameters=wide), momentum


def _observed(layer: nn.Module, recipe: Recipe) -> tuple[Conventions, float | None]:
    """Observe all but the shape of the parameters."""
    names = {name for name, _ in layer.named_buffers()}
    own = sorted(names - set(BUFFERS if recipe.family.keeps_state else ()))
    if own:
        raise RepairError(f"it keeps state of its own: `{own[0]}`")
    if (recipe.weight or "weight", recipe.bias or "bias") != ("weight", "bias"):
        raise RepairError("what scales is not called `weight`, or what shifts is not called `bias`")
    if not recipe.family.keeps_state:
        return Conventions(), None
    if not all(same_shape(getattr(layer, name, None), recipe.channels) for name in BUFFERS[:2]):
        raise RepairError("its running statistics are not shaped (C,)")
    unbiased = _normalizes_by_unbiased(disturbed(layer), recipe)
    if not {"running_mean", "running_var"} <= names:
        return Conventions(unbiased, batch_statistics_in_eval=True, no_updates=True), None
    ignores_mode = _ignores_running_statistics(disturbed(layer), recipe)
    copy = disturbed(layer)
    counter = getattr(copy, "num_batches_tracked", None)
    counted = 0 if counter is None else int(counter)
    (momentum, biased), (later, _) = _update(copy, recipe, 1.0), _update(copy, recipe, 2.0)
    if momentum is None or later is None:
        given = getattr(layer, "momentum", 0.1)
        return Conventions(unbiased, ignores_mode, no_updates=True), 0.1 if isinstance(given, Tensor) else given
    no_count = counter is not None and int(copy.num_batches_tracked) == counted  # type: ignore[arg-type]
    if abs(later - momentum) > ROUNDING:
        if abs(momentum * (counted + 1) - 1) > ROUNDING or no_count or counter is None:
            raise RepairError("the momentum of its running statistics changes")
        return Conventions(unbiased, ignores_mode, False, biased), None  # the average over all batches
    return Conventions(unbiased, ignores_mode, False, biased, no_count), momentum


def _sample(recipe: Recipe, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    shape = {2: (16,), 3: (6, 5), 4: (4, 3, 5), 5: (2, 3, 3, 2)}[recipe.rank]
    values = torch.randn((shape[0], recipe.channels, *shape[1:]), generator=generator, dtype=torch.float64)
    return (values + 0.5).to(like.device)


def _normalizes_by_unbiased(copy: nn.Module, recipe: Recipe) -> bool:
    """Whether the outputs are nearer to those of the unbiased variance than to those of torch's biased one."""
    weight, bias = (getattr(copy, name).reshape(-1) if name else None for name in (recipe.weight, recipe.bias))
    like = next((t for t in (*copy.parameters(), *copy.buffers())), torch.empty(0))
    x = _sample(recipe, like)
    kept = 1 - x.size(1) / x.numel()
    with torch.no_grad():
        y = copy.train()(x)
        scale = x.new_full((recipe.channels,), kept**0.5) * (1.0 if weight is None else weight)
        biased = F.batch_norm(x, None, None, weight, bias, True, 0.0, recipe.eps)
        unbiased = F.batch_norm(x, None, None, scale, bias, True, 0.0, recipe.eps * kept)
    return bool((y - unbiased).abs().max() < (y - biased).abs().max())


def _ignores_running_statistics(copy: nn.Module, recipe: Recipe) -> bool:
    x = _sample(recipe, copy.running_mean)  # type: ignore[arg-type]
    with torch.no_grad():
        copy.eval()
        before = copy(x)
        copy.running_mean.add_(1.0)  # type: ignore[operator]
        after = copy(x)
    return bool(torch.equal(before, after))


def _update(copy: nn.Module, recipe: Recipe, scale: float) -> tuple[float | None, bool]:
    """Return the weight of the newest batch in the running statistics (None: no update) and whether they are biased."""
    x = scale * _sample(recipe, copy.running_mean)  # type: ignore[arg-type]
    axes = [d for d in range(recipe.rank) if d != 1]
    count = x.numel() // x.size(1)
    old_mean, old_var = copy.running_mean.clone(), copy.running_var.clone()  # type: ignore[operator]
    copy.train()(x)
    new_mean, new_var = copy.running_mean.detach(), copy.running_var.detach()  # type: ignore[operator]
    if torch.equal(new_mean, old_mean) and torch.equal(new_var, old_var):
        return None, False
    share = ((new_mean - old_mean) * (x.mean(axes) - old_mean)).sum() / (x.mean(axes) - old_mean).square().sum()
    momentum = round(float(share), 12)
    added = new_var - (1 - momentum) * old_var
    biased = momentum * x.var(axes, unbiased=False)
    unbiased = biased * count / (count - 1)
    return momentum, bool((added - biased).abs().max() < (added - unbiased).abs().max())
