"""Twins of the normalization layers of torch, torchvision and timm, written with tensor operations, live or stopped.

A twin is the layer itself with another `forward`: parameters, buffers, activation and everything else stay what they
were, and the outputs in training too. Only the gradient differs, where the twin is stopped.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import torch
from torch import nn

Forward = Callable[[nn.Module, torch.Tensor], torch.Tensor]


def batch_norm(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    dims = [dim for dim in range(x.ndim) if dim != 1]
    mean = x.mean(dims, keepdim=True)
    var = x.var(dims, keepdim=True, correction=0)
    if self.running_mean is not None:
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(var.flatten() * (count / (count - 1)), self.momentum)
    if self.stopped:
        mean, var = mean.detach(), var.detach()
    return finished(self, (x - mean) * torch.rsqrt(var + self.eps), channel=1)


def instance_norm(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    dims = list(range(2, x.ndim))
    mean = x.mean(dims, keepdim=True)
    var = x.var(dims, keepdim=True, correction=0)
    if self.stopped:
        mean, var = mean.detach(), var.detach()
    return finished(self, (x - mean) * torch.rsqrt(var + self.eps), channel=1)


def group_norm(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    groups = x.reshape(x.shape[0], self.num_groups, -1)
    mean = groups.mean(-1, keepdim=True)
    var = groups.var(-1, keepdim=True, correction=0)
    if self.stopped:
        mean, var = mean.detach(), var.detach()
    return finished(self, ((groups - mean) * torch.rsqrt(var + self.eps)).reshape(x.shape), channel=1)


def layer_norm(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    dims = [-1 - dim for dim in range(len(self.normalized_shape))]
    mean = x.mean(dims, keepdim=True)
    var = x.var(dims, keepdim=True, correction=0)
    if self.stopped:
        mean, var = mean.detach(), var.detach()
    return finished(self, (x - mean) * torch.rsqrt(var + self.eps), channel=-1)


def layer_norm_2d(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mean = x.mean(1, keepdim=True)
    var = x.var(1, keepdim=True, correction=0)
    if self.stopped:
        mean, var = mean.detach(), var.detach()
    return finished(self, (x - mean) * torch.rsqrt(var + self.eps), channel=1)


def rms_norm(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mean_square = x.pow(2).mean([-1 - dim for dim in range(len(self.normalized_shape))], keepdim=True)
    if self.stopped:
        mean_square = mean_square.detach()
    eps = torch.finfo(x.dtype).eps if self.eps is None else self.eps
    return finished(self, x * torch.rsqrt(mean_square + eps), channel=-1)


def rms_norm_2d(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
    mean_square = x.pow(2).mean(1, keepdim=True)
    if self.stopped:
        mean_square = mean_square.detach()
    return finished(self, x * torch.rsqrt(mean_square + self.eps), channel=1)


def finished(self: nn.Module, normalized: torch.Tensor, channel: int) -> torch.Tensor:
    """Apply weight and bias, and what timm's fused layers do behind them."""
    for name, apply in (("weight", torch.mul), ("bias", torch.add)):
        parameter = getattr(self, name, None)
        if parameter is not None:
            over = parameter if channel == -1 else parameter.view(-1, *[1] * (normalized.ndim - 2))
            normalized = apply(normalized, over)
    for name in ("drop", "act"):
        if hasattr(self, name):
            normalized = getattr(self, name)(normalized)
    return normalized


def forward_of(norm: nn.Module) -> Forward | None:
    """Return what a twin of a layer computes; None for layers without a twin here."""
    name = type(norm).__name__.lower()
    flat = "2d" not in name
    match norm:
        case nn.modules.instancenorm._InstanceNorm():
            return instance_norm
        case nn.modules.batchnorm._BatchNorm(momentum=float()):
            return batch_norm
        case nn.GroupNorm():
            return group_norm
        case nn.LayerNorm():
            return layer_norm if flat else layer_norm_2d
        case nn.RMSNorm():
            return rms_norm
        case nn.Module(normalized_shape=tuple(), eps=float()) if "rms" in name:
            return rms_norm if flat else rms_norm_2d
    return None


def is_norm(module: nn.Module) -> bool:
    """Whether a layer looks like a normalization, with a twin or without one."""
    leaf = all(isinstance(child, nn.Identity) or not list(child.parameters()) for child in module.children())
    return forward_of(module) is not None or (leaf and "norm" in type(module).__name__.lower())


@functools.cache
def twin_class(native: type[nn.Module], forward: Forward, stopped: bool) -> type[nn.Module]:
    name = f"{'Stopped' if stopped else 'Live'}{native.__name__}"
    return type(name, (native,), {"forward": forward, "stopped": stopped, "__module__": __name__})


def swap(norms: Mapping[str, nn.Module], *, stopped: bool) -> None:
    """Make twins of layers, in place."""
    for norm in norms.values():
        forward = forward_of(norm)
        assert forward is not None
        norm.__class__ = twin_class(type(norm), forward, stopped)
