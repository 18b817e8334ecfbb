"""Normalization layers that keep a convention torch's own do not have, on torch's fused operator.

A checkpoint repaired without `--adopt-torch-conventions` may hold these classes: names and arguments are stable.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _FusedBatchNorm(_BatchNorm):
    """Batch normalization on `torch.nn.functional.batch_norm`, with the conventions of the layer it stands for.

    Args:
        num_features: Number of channels C.
        eps: Added to the variance.
        momentum: Weight of the newest batch in the running statistics; None for a cumulative average.
        affine: Whether there are `weight` and `bias`, of shape (C,).
        track_running_stats: Whether there are running statistics.
        unbiased: Whether the variance of the batch is divided by n - 1 (torch: n), n values per channel.
        batch_statistics_in_eval: Whether evaluation too normalizes by the statistics of the batch.
        updates_running_statistics: Whether training updates the running statistics.
        biased_running_variance: Whether the running variance collects the biased variance (torch: the unbiased).
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        unbiased: bool = False,
        batch_statistics_in_eval: bool = False,
        updates_running_statistics: bool = True,
        biased_running_variance: bool = False,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.unbiased = unbiased
        self.batch_statistics_in_eval = batch_statistics_in_eval
        self.updates_running_statistics = updates_running_statistics
        self.biased_running_variance = biased_running_variance

    def forward(self, input: Tensor) -> Tensor:
        """Normalize a tensor of shape (N, C, ...)."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if not self.training and not self.batch_statistics_in_eval and self.running_mean is not None:
            return F.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        weight, eps = self.weight, self.eps
        kept = 1.0
        count = input.numel() // input.size(1)
        if self.unbiased:
            # (x - m) / sqrt(n/(n-1) v + eps) = sqrt(k) (x - m) / sqrt(v + k eps) with k = (n-1)/n, v biased.
            kept = (count - 1) / count
            weight = input.new_full((input.size(1),), kept**0.5) if weight is None else weight * kept**0.5
            eps = self.eps * kept
        if not (self.training and self.updates_running_statistics and self.running_mean is not None):
            return F.batch_norm(input, None, None, weight, self.bias, True, 0.0, eps)
        momentum = self._momentum()
        if self.running_var is None or not self.biased_running_variance:
            return F.batch_norm(input, self.running_mean, self.running_var, weight, self.bias, True, momentum, eps)
        # The operator adds the unbiased variance to what it is given, and keeps that tensor for the backward.
        added = torch.zeros_like(self.running_var)
        output = F.batch_norm(input, self.running_mean, added, weight, self.bias, True, momentum, eps)
        with torch.no_grad():
            self.running_var.mul_(1 - momentum).add_(added, alpha=(count - 1) / count)
        return output

    def _momentum(self) -> float:
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.momentum is not None:
            return self.momentum
        return 0.0 if self.num_batches_tracked is None else 1.0 / float(self.num_batches_tracked)

    def extra_repr(self) -> str:
        """Say which conventions differ from torch's."""
        names = ("unbiased", "batch_statistics_in_eval", "biased_running_variance")
        kept = [name for name in names if getattr(self, name)]
        kept += [] if self.updates_running_statistics else ["updates_running_statistics=False"]
        return ", ".join([super().extra_repr(), *kept])  # type: ignore[no-untyped-call]


class FusedBatchNorm1d(_FusedBatchNorm, nn.BatchNorm1d):
    """For inputs of shape (N, C) or (N, C, L)."""


class FusedBatchNorm2d(_FusedBatchNorm, nn.BatchNorm2d):
    """For inputs of shape (N, C, H, W)."""


class FusedBatchNorm3d(_FusedBatchNorm, nn.BatchNorm3d):
    """For inputs of shape (N, C, D, H, W)."""
