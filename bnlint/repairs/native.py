"""The first rung: rebuild a recognized layer on torch's fused operator, its own tensors inside."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bnlint.layers import (
    FusedBatchNorm,
    FusedBatchNorm1d,
    FusedBatchNorm2d,
    FusedBatchNorm3d,
    load_uncounted,
    saves_counter,
)
from bnlint.repairs.conventions import BUFFERS, Conventions
from bnlint.repairs.families import BATCH, GROUP, INSTANCE, LAYER, RMS
from bnlint.repairs.recognize import Recipe

_BATCH = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_OURS = {2: FusedBatchNorm1d, 3: FusedBatchNorm1d, 4: FusedBatchNorm2d, 5: FusedBatchNorm3d}
_INSTANCE = {3: nn.InstanceNorm1d, 4: nn.InstanceNorm2d, 5: nn.InstanceNorm3d}
#: how the families without conventions of their own are made, and with which flag they say that they have parameters
_PLAIN: dict[str, tuple[Callable[[Recipe], nn.Module], str]] = {
    INSTANCE.name: (lambda r: _INSTANCE[r.rank](r.channels, r.eps, affine=False), "affine"),
    GROUP.name: (lambda r: nn.GroupNorm(r.groups, r.channels, r.eps, affine=False), "affine"),
    LAYER.name: (lambda r: nn.LayerNorm(r.size, r.eps, elementwise_affine=False), "elementwise_affine"),
    RMS.name: (lambda r: nn.RMSNorm(r.size, r.eps, elementwise_affine=False), "elementwise_affine"),
}
_HOOKS = tuple(name for name in vars(nn.Module()) if name.startswith("_") and "hook" in name)


def build(layer: nn.Module, recipe: Recipe, conventions: Conventions, momentum: float | None) -> nn.Module:
    """Build the layer that stands for `layer`: same parameter and buffer objects, flags and hooks.

    A layer whose conventions are torch's becomes torch's own class, any other one of `bnlint.layers`.
    """
    if recipe.family is BATCH:
        built, flag = _batch_norm(recipe, conventions, momentum, tracks=_tracks(layer, recipe)), "affine"
    else:
        make, flag = _PLAIN[recipe.family.name]
        built = make(recipe)
    return _furnished(built, layer, recipe, flag)


def build_synchronized(layer: nn.Module, recipe: Recipe, momentum: float | None, group: Any) -> nn.Module:
    """Build torch's synchronized batch normalization in place of `layer`: same objects, flags and hooks.

    Its processes are those of the group, None for all.
    """
    built = nn.SyncBatchNorm(recipe.channels, recipe.eps, momentum, False, _tracks(layer, recipe), group)
    return _furnished(built, layer, recipe, "affine")


def _tracks(layer: nn.Module, recipe: Recipe) -> bool:
    return recipe.family.keeps_state and getattr(layer, "running_mean", None) is not None


def _furnished(built: nn.Module, layer: nn.Module, recipe: Recipe, flag: str) -> nn.Module:
    """Give a new layer what the other one holds; the flag says that it has parameters."""
    vars(built)[flag] = recipe.weight is not None or recipe.bias is not None
    plays = {recipe.weight: "weight", recipe.bias: "bias"}
    for name, parameter in layer.named_parameters():
        delattr(built, plays[name])  # to register it again in the layer's own order: optimizers go by that
        built.register_parameter(plays[name], parameter)
    for name in BUFFERS if _tracks(layer, recipe) else ():
        persistent = name not in layer._non_persistent_buffers_set
        built.register_buffer(name, getattr(layer, name, None), persistent=persistent)
    for name in _HOOKS:
        if name in vars(layer):
            vars(built)[name] = vars(layer)[name]
    built.training = layer.training
    return built


def _batch_norm(recipe: Recipe, conventions: Conventions, momentum: float | None, *, tracks: bool) -> nn.Module:
    ours = any(
        (
            conventions.unbiased,
            tracks and conventions.batch_statistics_in_eval,
            tracks and conventions.no_updates,
            conventions.biased_running_variance,
            conventions.wide_parameters,
        )
    )
    if ours:
        return _OURS[recipe.rank](
            recipe.channels,
            recipe.eps,
            momentum,
            affine=False,
            track_running_stats=tracks,
            unbiased=conventions.unbiased,
            batch_statistics_in_eval=conventions.batch_statistics_in_eval,
            updates_running_statistics=not conventions.no_updates,
            biased_running_variance=conventions.biased_running_variance,
        )
    return _BATCH[recipe.rank](recipe.channels, recipe.eps, momentum, affine=False, track_running_stats=tracks)


def expect_no_counter(layer: nn.Module) -> None:
    """Let a layer that became torch's own, without a counter of batches, load the state dicts that it loaded before."""
    if type(layer) in _BATCH.values() and layer.track_running_stats and not saves_counter(layer):
        layer.register_load_state_dict_pre_hook(load_uncounted)  # type: ignore[no-untyped-call]


def flatten(built: nn.Module) -> None:
    """Shape the parameters of torch's own batch normalization as it takes them, (C,); they stay the same objects."""
    own = isinstance(built, _BatchNorm) and not isinstance(built, FusedBatchNorm)
    if own and any(parameter.dim() > 1 for parameter in built.parameters()):
        gc.collect()  # autograd remembers the old shape while a graph that nobody needs any more is alive
        for parameter in built.parameters():
            parameter.data = parameter.data.reshape(-1)
            if parameter.grad is not None:
                parameter.grad = parameter.grad.reshape(-1)
