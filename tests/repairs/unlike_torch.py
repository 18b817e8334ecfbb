"""Stopped layers that torch's own do not stand for, and what a native repair says of each."""

import torch
from torch import nn
from variants import HandNorm


class Two(HandNorm):
    def forward(self, x):
        return super().forward(x), x.mean()


class Own(HandNorm):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0.0))

    def forward(self, x):
        self.calls += 1
        return super().forward(x)


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True)
        out = (x - mean.detach()) / (var.detach() + 1e-5).sqrt()
        return out * self.weight[:, None, None] + self.bias[:, None, None]


class Twice(HandNorm):
    def forward(self, x):
        first = super().forward(x)
        return first + (first - first.mean((2, 3), keepdim=True).detach()) / first.std((2, 3), keepdim=True)


class OnlyMean(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return (x - x.mean((0, 2, 3), keepdim=True).detach()) * self.weight[:, None, None]


class Activated(HandNorm):
    def forward(self, x):
        return torch.relu(super().forward(x))


class Clipped(HandNorm):
    def forward(self, x):
        return super().forward(x).clamp(-50, 50)


class ClampedVariance(nn.Module):
    """No eps: a floor, which only a nearly constant channel reaches."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(4)), nn.Parameter(torch.zeros(4))

    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        out = (x - mean.detach()) / var.detach().clamp(min=1e-5).sqrt()
        return out * self.weight[:, None, None] + self.bias[:, None, None]


class FlooredVariance(ClampedVariance):
    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        out = (x - mean.detach()) / (var.detach().clamp(min=1e-6) + 1e-5).sqrt()
        return out * self.weight[:, None, None] + self.bias[:, None, None]


class EpsOutside(ClampedVariance):
    def forward(self, x):
        mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)
        return (x - mean.detach()) / (std.detach() + 1e-5) * self.weight[:, None, None] + self.bias[:, None, None]


class ZeroCentered(nn.Module):
    """Scales by 1 + weight: while the weight is zero it looks like a bias."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
        return (x - mean.detach()) / (var.detach() + 1e-5).sqrt() * (1 + self.weight[:, None, None])


class LargeBatches(HandNorm):
    """Leaves large batches as they are; what it asks of channels and of single values is no matter."""

    def forward(self, x):
        if x.shape[0] > 64 or x.shape[1] != 4 or x.numel() == 1:
            return x
        return super().forward(x)


class Debiased(HandNorm):
    """The share of the newest batch shrinks, but not as in an average."""

    def update(self, mean, var, count):
        self.momentum *= 0.5
        super().update(mean, var, count)


class UpdatesInEval(HandNorm):
    def forward(self, x):
        self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean((0, 2, 3)).detach()
        return super().forward(x)


class Parent(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        h = self.conv(x)
        return (h - h.mean((0, 2, 3), keepdim=True).detach()) / h.std((0, 2, 3), keepdim=True)


def parametrized():
    layer = HandNorm()
    nn.utils.parametrize.register_parametrization(layer, "weight", nn.Softplus())
    return layer


#: name: (layer, why it is not native)
UNLIKE_TORCH = {
    "two outputs": (Two, "more than the normalized tensor"),
    "own state": (Own, "state of its own: `calls`"),
    "other axes": (Positions, r"dimensions \[1\]"),
    "only a mean": (OnlyMean, "mean and a variance"),
    "an activation": (Activated, "`relu`"),
    "clipped outputs": (Clipped, "`clamp`"),
    "a floor for the variance": (ClampedVariance, "eps"),
    "a floor far below the variance and eps": (FlooredVariance, "outputs"),
    "eps outside of the root": (EpsOutside, "outputs"),
    "a weight around one": (ZeroCentered, "called `weight`"),
    "a branch for large batches": (LargeBatches, "size of its input"),
    "updates in eval mode": (UpdatesInEval, "buffers|eval"),
}
#: name: (layer, why it cannot be rewritten at all)
REFUSED = {
    "parametrized": (parametrized, "parametrization"),
    "several normalizations": (Twice, "normalizations in one layer"),
    "a momentum that changes": (Debiased, "momentum"),
    "holds other modules": (Parent, "holds other modules"),
}
