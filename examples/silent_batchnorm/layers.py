"""A batch norm written by hand, and a ResNet-18 that uses it.

Its outputs are those of a batch norm in training mode, every parameter gets a gradient, and nothing warns.
"""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models import resnet18 as torchvision_resnet18


def per_channel(statistic: torch.Tensor) -> torch.Tensor:
    """Reshape one value per channel from (C,) to (1, C, 1, 1), so that it broadcasts over a batch of images."""
    return statistic.unsqueeze(0).unsqueeze(2).unsqueeze(3)


class BatchNorm2d_new(nn.BatchNorm2d):
    """Batch normalization by the statistics of the current batch, in training and in evaluation alike."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        batch_stats = {}
        batch_stats["mean"] = input.mean(dim=[0, 2, 3]).detach().clone()
        batch_stats["var"] = input.var(dim=[0, 2, 3]).detach().clone()
        batch_stats["inv_std"] = torch.rsqrt(batch_stats["var"] + self.eps)

        normalized = (input - per_channel(batch_stats["mean"])) * per_channel(batch_stats["inv_std"])
        return normalized * per_channel(self.weight) + per_channel(self.bias)


def convert(module: nn.Module) -> nn.Module:
    """Swap every `nn.BatchNorm2d` in a model for `BatchNorm2d_new`, sharing its parameters and buffers."""
    if isinstance(module, nn.BatchNorm2d):
        converted = BatchNorm2d_new(module.num_features, eps=module.eps, momentum=module.momentum)
        converted.weight = module.weight
        converted.bias = module.bias
        converted.running_mean = module.running_mean
        converted.running_var = module.running_var
        converted.num_batches_tracked = module.num_batches_tracked
        return converted.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, convert(child))
    return module


def resnet18(num_classes: int = 10) -> nn.Module:
    """Return a ResNet-18 from torchvision, with its own `nn.BatchNorm2d`."""
    model: nn.Module = torchvision_resnet18(num_classes=num_classes)
    return model


def broken_resnet18(num_classes: int = 10) -> nn.Module:
    """Return the same ResNet-18 with all 20 batch norms converted to `BatchNorm2d_new`."""
    return convert(resnet18(num_classes))
