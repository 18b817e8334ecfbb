"""The ways a stopped statistic travels to its use: each snippet is run, measured to be wrong, and must be reported."""

from __future__ import annotations

import pytest
from snippets import gradient_error, layer, marked, module, reported

CASES = {
    "own line": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    mean = mean.detach()  # BN101
    var = x.var((0, 2, 3), keepdim=True)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "end of a chain": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    std = (x.var((0, 2, 3), keepdim=True) + self.eps).sqrt().detach()  # BN101
    return (x - mean) / std * self.weight + self.bias
"""),
    "inside the normalizing expression": layer("""
    return (x - x.mean((0, 2, 3), keepdim=True).detach()) / x.std((0, 2, 3), keepdim=True).detach()  # BN101
"""),
    "layout behind the stop": layer("""
    mean = x.mean((0, 2, 3)).detach()[None, :, None, None]  # BN101
    var = x.var((0, 2, 3)).detach().view(1, -1, 1, 1).expand_as(x)  # BN101
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "function spelling": layer("""
    mean = torch.mean(x, (0, 2, 3), keepdim=True)
    var = torch.var(x, (0, 2, 3), keepdim=True)
    return torch.div(torch.sub(x, torch.detach(mean)), torch.sqrt(torch.add(var, self.eps)))  # BN101
"""),
    "data": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).data  # BN101
    var = x.data.var((0, 2, 3), keepdim=True)  # BN103
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "in-place detach_": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    mean.detach_()  # BN101
    return x - mean
"""),
    "detached input": layer("""
    frozen = x.detach()  # BN103
    mean, var = frozen.mean((0, 2, 3), keepdim=True), frozen.var((0, 2, 3), keepdim=True)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "dict entries": layer("""
    stats = {"mean": x.mean((0, 2, 3), keepdim=True).detach(), "var": x.var((0, 2, 3), keepdim=True)}  # BN101
    stats["inv"] = 1 / torch.sqrt(stats["var"] + self.eps)
    return (x - stats["mean"]) * stats["inv"]
"""),
    "dict call and update": layer("""
    stats = dict(mean=x.mean((0, 2, 3), keepdim=True).detach())  # BN101
    stats.update(var=x.var((0, 2, 3), keepdim=True).detach())  # BN101
    return (x - stats.get("mean")) / (stats["var"] + self.eps) ** 0.5
"""),
    "one of two entries": layer("""
    stats = {"live": x.mean((0, 2, 3), keepdim=True), "log": x.mean((0, 2, 3), keepdim=True).detach()}
    return x - stats["live"]
"""),
    "tuple return of a method": layer(
        """
    def statistics(self, x):
        mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
        return mean, x.var((0, 2, 3), keepdim=True)
""",
        """
    mean, var = self.statistics(x)
    return (x - mean) / (var + self.eps).sqrt()
""",
    ),
    "tuple kept whole": layer("""
    stats = (x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True).detach())  # BN101
    return (x - stats[0]) / (stats[-1] + self.eps).sqrt()
"""),
    "tuple rebinding": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    mean, var = mean.detach(), var  # BN101
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "starred unpacking": layer("""
    mean, *rest = [s.detach() for s in (x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True))]  # BN101
    return (x - mean) / (rest[0] + self.eps).sqrt()
"""),
    "helper of the module": module("""
    def center(x):
        return x - spread(x.mean((0, 2, 3)).detach())  # BN101


    def spread(v):
        return v.unsqueeze(0).unsqueeze(-1).unsqueeze(-1)


    def norm(x):
        return center(x) / spread(x.std((0, 2, 3)))
"""),
    "helper defined below its use": module("""
    def norm(x):
        return x - frozen(x.mean((0, 2, 3), keepdim=True))


    def frozen(value):
        return value.detach()  # BN101
"""),
    "self attribute across methods": layer(
        """
    def measure(self, x):
        self.mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
        self.std = x.std((0, 2, 3), keepdim=True)
""",
        """
    self.measure(x)
    return (x - self.mean) / self.std
""",
    ),
    "method of a base class": module("""
    class Base(nn.Module):
        def statistics(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True)  # BN101


    class Norm(Base):
        def forward(self, x):
            mean, var = self.statistics(x)
            return (x - mean) / (var + 1e-5).sqrt()
"""),
    "overridden hook of a base class": module("""
    class Base(nn.Module):
        def forward(self, x):
            return x - self.center(x)

        def center(self, x):
            return x.mean((0, 2, 3), keepdim=True)


    class Norm(Base):
        def center(self, x):
            return super().center(x).detach()  # BN101
"""),
    "closure": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101

    def center(value):
        return value - mean

    return center(x)
"""),
    "lambda": layer("""
    stop = lambda value: value.detach()  # BN101
    return x - stop(x.mean((0, 2, 3), keepdim=True))
"""),
    "comprehension": layer("""
    mean, var = (s.detach() for s in (x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)))  # BN101
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "walrus": layer("""
    if (mean := x.mean((0, 2, 3), keepdim=True).detach()) is not None:  # BN101
        x = x - mean
    return x
"""),
    "with no_grad": layer("""
    with torch.no_grad():
        mean = x.mean((0, 2, 3), keepdim=True)  # BN102
        var = x.var((0, 2, 3), keepdim=True)  # BN102
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "with inference_mode": layer("""
    with torch.inference_mode():
        mean = x.mean((0, 2, 3), keepdim=True)  # BN102
    return x - mean.clone()
"""),
    "with set_grad_enabled": layer("""
    with torch.set_grad_enabled(False):
        mean = x.mean((0, 2, 3), keepdim=True)  # BN102
    return x - mean
"""),
    "set_grad_enabled as a call": layer("""
    torch.set_grad_enabled(False)
    mean = x.mean((0, 2, 3), keepdim=True)  # BN102
    torch.set_grad_enabled(True)
    return x - mean
"""),
    "no_grad of a helper's decorator": layer(
        """
    @torch.no_grad()
    def statistics(self, x):
        return x.mean((0, 2, 3), keepdim=True)  # BN102
""",
        """
    return x - self.statistics(x)
""",
    ),
    "enable_grad inside no_grad": layer("""
    with torch.no_grad():
        with torch.enable_grad():
            mean = x.mean((0, 2, 3), keepdim=True)
    return x - mean
"""),
    "for loop over channels": layer("""
    parts = []
    for channel in x.split(1, dim=1):
        mean = channel.mean((0, 2, 3), keepdim=True).detach()  # BN101
        parts.append(channel - mean)
    return torch.cat(parts, 1)
"""),
    "loop over names": layer("""
    stats = {"mean": x.mean((0, 2, 3), keepdim=True), "var": x.var((0, 2, 3), keepdim=True)}
    for key in stats:
        stats[key] = stats[key].detach()  # BN101
    return (x - stats["mean"]) / (stats["var"] + self.eps).sqrt()
"""),
    "list used in a later loop": layer("""
    parts, means = x.chunk(3, dim=1), []
    for part in parts:
        means.append(part.mean((0, 2, 3), keepdim=True).detach())  # BN101
    return torch.cat([part - mean for part, mean in zip(parts, means)], 1)
"""),
    "while": layer("""
    done = False
    while not done:
        mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
        done = True
    return x - mean
"""),
    "try": layer("""
    try:
        mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    finally:
        pass
    return x - mean
"""),
    "conditional expression of the mode": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach() if self.training else self.running_mean  # BN101
    return x - mean
"""),
    "else branch of the eval test": layer("""
    if not self.training:
        mean = self.running_mean
    else:
        with torch.no_grad():
            mean = x.mean((0, 2, 3), keepdim=True)  # BN102
    return x - mean
"""),
    "early return of eval": layer("""
    if not self.training:
        return (x - self.running_mean) / (self.running_var + self.eps).sqrt()
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    return x - mean
"""),
    "in-place normalizer": layer("""
    y = x.clone()
    y -= x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    y.div_(x.std((0, 2, 3), keepdim=True).detach())  # BN101
    return y
"""),
    "in-place on the statistic": layer("""
    var = x.var((0, 2, 3), keepdim=True).detach()  # BN101
    var.add_(self.eps).sqrt_()
    return (x - x.mean((0, 2, 3), keepdim=True)) / var
"""),
    "folded scale and shift": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    var = x.var((0, 2, 3), keepdim=True).detach()  # BN101
    scale = self.weight * torch.rsqrt(var + self.eps)
    shift = self.bias - mean.detach() * scale  # BN101
    return x * scale + shift
"""),
    "sum with a negated mean": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    return torch.add(x, -mean)
"""),
    "minus one times": layer("""
    mean = -1 * x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    return x + mean
"""),
    "rsqrt": layer("""
    return x * torch.rsqrt(x.pow(2).mean((0, 2, 3), keepdim=True).detach() + self.eps)  # BN101
"""),
    "power of minus one half": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True).detach()  # BN101
    return (x - mean) * (var + self.eps).pow(-0.5)
"""),
    "operator power": layer("""
    var = x.var((0, 2, 3), keepdim=True).detach()  # BN101
    return (x - x.mean((0, 2, 3), keepdim=True)) * (var + self.eps) ** -0.5
"""),
    "reciprocal": layer("""
    inv = x.std((0, 2, 3), keepdim=True).detach().reciprocal()  # BN101
    return (x - x.mean((0, 2, 3), keepdim=True)).mul(inv)
"""),
    "mean of squares minus square of the mean": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    var = (x * x).mean((0, 2, 3), keepdim=True) - mean.detach() ** 2  # BN101
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "hand-written variance": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True).detach()  # BN101
    return (x - mean) / torch.sqrt(var + self.eps)
"""),
    "sum over n": layer("""
    n = x.numel() / x.size(1)
    mean = x.sum((0, 2, 3), keepdim=True).detach() / n  # BN101
    return x - mean
"""),
    "var_mean gives the variance first": layer("""
    var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)
    return (x - mean.detach()) / (var + self.eps).sqrt()  # BN101
"""),
    "std_mean gives the deviation first": layer("""
    std, mean = torch.std_mean(x, (0, 2, 3), keepdim=True)
    std = std.detach()  # BN101
    return (x - mean) / std
"""),
    "functional batch_norm with computed statistics": layer("""
    mean = x.mean((0, 2, 3)).detach()  # BN101
    var = x.var((0, 2, 3), unbiased=False).detach()  # BN101
    return F.batch_norm(x, mean, var, training=False)
"""),
    "statistic of a norm": layer("""
    n = torch.sqrt((x * x).sum((0, 2, 3), keepdim=True)).detach()  # BN101
    return x / (n + self.eps)
"""),
    "torch.norm": layer("""
    n = torch.norm(x, dim=1, keepdim=True).detach()  # BN101
    return x.div(n.expand_as(x))
"""),
    "chained means": layer("""
    mean = x.mean(3).mean(2).mean(0).view(1, -1, 1, 1).detach()  # BN101
    return x - mean
"""),
    "stop feeds buffer and normalizer": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean
    return x - mean
"""),
    "casts around the statistics": layer("""
    h = x.double()
    mean = h.mean((0, 2, 3), keepdim=True).detach()  # BN101
    return ((h - mean) / h.std((0, 2, 3), keepdim=True)).type_as(x)
"""),
    "reshaped groups": layer("""
    g = x.view(x.size(0), 1, -1)
    mean = g.mean(-1, keepdim=True).detach()  # BN101
    return ((g - mean) / g.std(-1, keepdim=True)).view_as(x)
"""),
    "item": layer("""
    mean = x.mean().item()  # BN104
    return x - mean
"""),
    "float": layer("""
    std = float(x.std())  # BN104
    return x / (std + self.eps)
"""),
    "torch.as_tensor of a list": layer("""
    mean = torch.as_tensor(x.mean((0, 2, 3), keepdim=True).tolist(), dtype=x.dtype)  # BN104
    return x - mean
"""),
    "numpy and back": layer("""
    mean = torch.from_numpy(x.mean((0, 2, 3), keepdim=True).cpu().numpy(force=True))  # BN104
    return x - mean
"""),
    "dataclass": module("""
    from dataclasses import dataclass


    @dataclass
    class Stats:
        mean: torch.Tensor
        var: torch.Tensor


    def norm(x):
        stats = Stats(x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True))  # BN101
        return (x - stats.mean) / (stats.var + 1e-5).sqrt()
"""),
    "named tuple": module("""
    from typing import NamedTuple


    class Stats(NamedTuple):
        mean: torch.Tensor
        var: torch.Tensor


    def norm(x):
        mean, var = Stats(x.mean((0, 2, 3), keepdim=True), var=x.var((0, 2, 3), keepdim=True).detach())  # BN101
        return (x - mean) / (var + 1e-5).sqrt()
"""),
    "static method": module("""
    class Norm(nn.Module):
        @staticmethod
        def center(x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101

        def forward(self, x):
            return x - self.center(x)
"""),
    "class called by name": module("""
    class Norm(nn.Module):
        def center(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101

        def forward(self, x):
            return x - Norm.center(self, x)
"""),
    "keyword arguments": layer("""
    mean = torch.mean(input=x, dim=(0, 2, 3), keepdim=True)
    return torch.sub(input=x, other=mean.detach())  # BN101
"""),
    "imported no_grad": module("""
    from torch import no_grad as frozen


    def norm(x):
        with frozen():
            mean = x.mean((0, 2, 3), keepdim=True)  # BN102
        return x - mean
"""),
    "match": layer("""
    match self.training:
        case True:
            mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
        case _:
            mean = self.running_mean
    return x - mean
"""),
    "assert between": layer("""
    assert x.dim() == 4
    mean = x.mean((0, 2, 3), keepdim=True)
    pass
    return x - mean.detach()  # BN101
"""),
    "table of functions": module("""
    TABLE = {"frozen": lambda v: v.detach(), "live": lambda v: v}  # BN101


    def norm(x):
        return x - TABLE["frozen"](x.mean((0, 2, 3), keepdim=True))
"""),
    "map": layer("""
    mean, std = map(torch.detach, (x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True)))  # BN101
    return (x - mean) / std
"""),
    "torch.mean of a permuted view": layer("""
    flat = x.permute(1, 0, 2, 3).reshape(3, -1)
    mean = flat.mean(1).detach()  # BN101
    return x - mean.view(1, -1, 1, 1)
"""),
    "slices stored": layer("""
    y = torch.empty_like(x)
    mean = x[:, :3].mean((0, 2, 3), keepdim=True).detach()  # BN101
    y[:, :3] = x[:, :3] - mean
    return y
"""),
    "clamped deviation": layer("""
    std = x.std((0, 2, 3), keepdim=True).clamp(min=1e-3).detach()  # BN101
    return (x - x.mean((0, 2, 3), keepdim=True)) / std
"""),
    "augmented assignment": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    x = x - 0
    x -= mean
    return x
"""),
    "repeat": module("""
    def norm(x):
        n, c, h, w = x.shape
        mean = x.mean(dim=[0, 2, 3]).detach()  # BN101
        return x - mean.reshape(1, c, 1, 1).repeat(n, 1, h, w)
"""),
    "function that a function returns": module("""
    def make():
        def inner(x):
            return x - x.mean((0, 2, 3), keepdim=True).detach()  # BN101
        return inner


    def norm(x):
        return make()(x)
"""),
    "old Variable": module("""
    from torch.autograd import Variable


    def norm(x):
        mean = Variable(x.mean((0, 2, 3), keepdim=True).data)  # BN101
        return x - mean
"""),
    "square root by math": layer("""
    std = math.sqrt(x.var().item())  # BN104
    return x / std
""").replace("import numpy", "import math\n\nimport numpy"),
    "variance by numpy": layer("""
    var = np.var(x.detach().numpy(), axis=(0, 2, 3), keepdims=True)  # BN103
    return (x - x.mean((0, 2, 3), keepdim=True)) / torch.from_numpy(np.sqrt(var + self.eps))
"""),
    "half of a split tensor": layer("""
    a, b = x.chunk(2, 0)
    return torch.cat([a - a.mean((0, 2, 3), keepdim=True).detach(), b], 0)  # BN101
"""),
    "builtin abs": layer("""
    size = abs(x).pow(2).mean((0, 2, 3), keepdim=True).sqrt().detach()  # BN101
    return x / size
"""),
}


@pytest.mark.parametrize("source", CASES.values(), ids=CASES.keys())
def test_a_stopped_statistic_is_reported_at_its_stop(source: str) -> None:
    assert reported(source) == sorted(set(marked(source)))


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("source", CASES.values(), ids=CASES.keys())
def test_autograd_agrees_with_the_marks(source: str) -> None:
    wrong = gradient_error(source) > 1e-4
    assert wrong == bool(marked(source))
