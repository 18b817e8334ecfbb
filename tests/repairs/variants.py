"""Test material: a batch norm written out in every convention, with its statistics stopped or not."""

import torch
import torch.distributed as dist
from torch import nn


class HandNorm(nn.Module):
    """Batch normalization by hand; with `stop` its statistics are detached, else it is the corrected layer.

    `updates` says which variance the running statistics collect: torch, biased, or none for no updates at all.
    """

    def __init__(
        self,
        channels=4,
        *,
        stop=True,
        unbiased=False,
        eval_by="running",
        updates="torch",
        momentum=0.1,
        reverse=False,
        affine=True,
        tracks=True,
        counts=True,
        bias_first=False,
        eps=1e-3,
        scaling="div",
        formula="var",
    ):
        super().__init__()
        self.stop, self.unbiased, self.eval_by, self.updates = stop, unbiased, eval_by, updates
        self.momentum, self.reverse, self.eps, self.scaling = momentum, reverse, eps, scaling
        self.counts, self.formula = counts, formula
        for name in (("bias", "weight") if bias_first else ("weight", "bias")) if affine else ():
            low, high = {"weight": (0.5, 1.5), "bias": (-0.5, 0.5)}[name]
            self.register_parameter(name, nn.Parameter(torch.empty(channels).uniform_(low, high)))
        if tracks:
            self.register_buffer("running_mean", torch.zeros(channels))
            self.register_buffer("running_var", torch.ones(channels))
            if counts is not None:
                self.register_buffer("num_batches_tracked", torch.tensor(0))

    def update(self, mean, var, count):
        if self.counts:
            self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        if self.reverse:
            share = 1 - share
        collected = var if self.updates == "biased" else var * count / (count - 1)
        self.running_mean = (1 - share) * self.running_mean + share * mean.detach()
        self.running_var = (1 - share) * self.running_var + share * collected.detach()

    def forward(self, x):
        axes = [d for d in range(x.dim()) if d != 1]
        wide = [1, -1] + [1] * (x.dim() - 2)
        if self.training or self.eval_by == "batch":
            mean = x.mean(axes)
            if self.formula == "var":
                var = x.var(axes, unbiased=self.unbiased)
            elif self.formula == "centered":
                var = (x - mean.view(wide)).pow(2).mean(axes)
            elif self.formula == "moments":
                var = (x * x).mean(axes) - mean**2
            if self.training and self.updates != "none":
                self.update(mean, x.var(axes, unbiased=False), x.numel() // x.shape[1])
            if self.stop:
                mean, var = mean.detach(), var.detach()
        else:
            mean, var = self.running_mean, self.running_var
        out = x - mean.view(wide)
        if self.scaling == "div":
            out = out / torch.sqrt(var.view(wide) + self.eps)
        else:
            out = out * (var.view(wide) + self.eps) ** -0.5
        if hasattr(self, "weight"):
            out = out * self.weight.view(wide) + self.bias.view(wide)
        return out


class SyncNorm(nn.Module):
    """Synchronized batch normalization by hand; as it is made without arguments it does what torch's does.

    `weighs` says how the statistics of processes count: by their values, or all alike. `corrects` says by how many
    values the running variance is corrected: those of all processes, its own, or none; with `never` nothing is updated.
    """

    def __init__(
        self,
        *,
        weighs="values",
        corrects="all",
        stop=False,
        unbiased=False,
        eval_by="running",
        momentum=0.25,
        names=("weight", "bias"),
        tracks=True,
        counts=True,
        wide=False,
        group=None,
        eps=1e-3,
    ):
        super().__init__()
        self.weighs, self.corrects, self.stop, self.unbiased, self.eval_by = weighs, corrects, stop, unbiased, eval_by
        self.momentum, self.group, self.eps = momentum, group, eps
        for name in names:
            value = torch.rand(3) + {"weight": 0.5, "bias": -0.5}[name]
            self.register_parameter(name, nn.Parameter(value.view(1, 3, 1, 1) if wide else value))
        if tracks:
            self.register_buffer("running_mean", torch.zeros(3))
            self.register_buffer("running_var", torch.ones(3))
            if counts:
                self.register_buffer("num_batches_tracked", torch.tensor(0))

    def statistics(self, x):
        n = x.numel() // x.size(1)
        if self.weighs == "alike":
            mean, square = x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))
            if self.stop:
                mean, square = mean.detach(), square.detach()
            dist.all_reduce(mean, group=self.group), dist.all_reduce(square, group=self.group)
            processes = dist.get_world_size(self.group)
            return mean / processes, square / processes - (mean / processes) ** 2, n * processes, n
        shared = torch.cat([x.sum((0, 2, 3)), (x * x).sum((0, 2, 3)), x.new_full((1,), n)])
        if self.stop:
            shared = shared.detach()
        dist.all_reduce(shared, group=self.group)
        mean, square, count = shared[:3] / shared[6], shared[3:6] / shared[6], shared[6]
        return mean, square - mean * mean, count, n

    def update(self, mean, var, count, n):
        if self.corrects == "never":
            return
        if hasattr(self, "num_batches_tracked"):
            self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.to(mean) if self.momentum is None else self.momentum
        factor = {"all": count / (count - 1), "own": n / (n - 1), "none": 1.0}[self.corrects]
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(var * factor, share)

    def forward(self, x):
        if self.training or self.eval_by == "shared":
            mean, var, count, n = self.statistics(x)
            if self.training and hasattr(self, "running_mean"):
                with torch.no_grad():
                    self.update(mean, var, count, n)
            if self.unbiased:
                var = var * count / (count - 1)
        elif self.eval_by == "own":
            mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        else:
            mean, var = self.running_mean, self.running_var
        out = (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + self.eps).sqrt()
        out = out * self.weight.view(1, -1, 1, 1) if hasattr(self, "weight") else out
        return out + self.bias.view(1, -1, 1, 1) if hasattr(self, "bias") else out


VARIANTS = {
    "torch's own conventions": {},
    "unbiased": {"unbiased": True},
    "unbiased, never updated, ignores eval": {"unbiased": True, "updates": "none", "eval_by": "batch"},
    "collects the biased variance": {"updates": "biased"},
    "unbiased, collects the biased variance": {"unbiased": True, "updates": "biased"},
    "momentum 0.25": {"momentum": 0.25},
    "momentum the other way round": {"momentum": 0.9, "reverse": True},
    "momentum one": {"momentum": 1.0},
    "a momentum that is no short decimal": {"momentum": 1 / 3},
    "cumulative average": {"momentum": None},
    "batch statistics in eval": {"eval_by": "batch"},
    "no updates": {"updates": "none"},
    "no affine": {"affine": False},
    "no affine, unbiased": {"affine": False, "unbiased": True},
    "no running statistics": {"tracks": False, "updates": "none", "eval_by": "batch"},
    "no counter": {"counts": None},
    "a counter that does not count": {"counts": False},
    "bias before weight": {"bias_first": True},
    "power of minus one half": {"scaling": "power"},
    "centered mean of squares": {"formula": "centered"},
    "mean of squares minus squared mean": {"formula": "moments"},
    "large eps": {"eps": 0.5},
}
INPUTS = {2: (9, 4), 3: (5, 4, 6), 4: (4, 4, 5, 3), 5: (2, 4, 3, 3, 2)}


def kept(options):
    """What `Certificate.kept` must say of a variant."""
    said = {
        "normalizes by the unbiased variance": options.get("unbiased"),
        "uses batch statistics in eval mode": options.get("eval_by") == "batch",
        "never updates its running statistics": options.get("updates") == "none",
        "collects the biased variance": options.get("updates") == "biased",
    }
    return {text for text, holds in said.items() if holds}


def pair(**options):
    """A stopped layer and its corrected twin with the same state, in float64."""
    stopped, corrected = HandNorm(**options).double(), HandNorm(**options, stop=False).double()
    corrected.load_state_dict(stopped.state_dict())
    return stopped, corrected


def batch(rank=4, seed=1, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(INPUTS[rank], generator=generator, dtype=torch.float64) * 1.5 + 0.5).to(dtype)


def gradients(module, x):
    """Gradients of the input and of the parameters by name, for one fixed cotangent."""
    leaf = x.clone().requires_grad_()
    out = module(leaf)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(out)
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    found = torch.autograd.grad(out, [leaf, *named.values()], cotangent)
    return dict(zip(["input", *named], found, strict=True))


def state(module):
    return {name: value.clone() for name, value in module.state_dict().items()}
