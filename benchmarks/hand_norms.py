"""Normalization layers as people write them by hand: with the statistics detached, and the same layers corrected.

The broken batch normalization is that of `examples/silent_batchnorm/layers.py`. The two of a pair give the same
outputs.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "silent_batchnorm"))
from layers import BatchNorm2d_new as BrokenBatchNorm
from layers import per_channel


class CorrectedBatchNorm(nn.BatchNorm2d):
    """`BrokenBatchNorm` with both `.detach().clone()` taken out by hand."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mean = input.mean(dim=[0, 2, 3])
        inv_std = torch.rsqrt(input.var(dim=[0, 2, 3]) + self.eps)
        normalized = (input - per_channel(mean)) * per_channel(inv_std)
        return normalized * per_channel(self.weight) + per_channel(self.bias)


class BrokenLayerNorm(nn.LayerNorm):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mean = input.mean(dim=-1, keepdim=True).detach()
        var = input.var(dim=-1, keepdim=True, correction=0).detach()
        return (input - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


class CorrectedLayerNorm(nn.LayerNorm):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mean = input.mean(dim=-1, keepdim=True)
        var = input.var(dim=-1, keepdim=True, correction=0)
        return (input - mean) * torch.rsqrt(var + self.eps) * self.weight + self.bias


class BrokenRMSNorm(nn.RMSNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.pow(2).mean(dim=-1, keepdim=True).detach()
        return x * torch.rsqrt(mean_square + self.eps) * self.weight


class CorrectedRMSNorm(nn.RMSNorm):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean_square = x.pow(2).mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(mean_square + self.eps) * self.weight


__all__ = [
    "BrokenBatchNorm",
    "BrokenLayerNorm",
    "BrokenRMSNorm",
    "CorrectedBatchNorm",
    "CorrectedLayerNorm",
    "CorrectedRMSNorm",
]
