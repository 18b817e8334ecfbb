"""Shapes of real code: statistics that are stopped, and what only looks so."""

from __future__ import annotations

from snippets import layer, module

#: these run, their gradient is measured to be wrong, and the marked lines are to be reported
STOPPED = {
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
    "chained means in a variance": layer("""
    mean = x.mean(3, keepdim=True).mean(2, keepdim=True).mean(0, keepdim=True)
    var = torch.pow(x - mean, 2).mean(3, keepdim=True).mean((0, 2), keepdim=True).detach()  # BN101
    return (x - mean) / (var + self.eps).sqrt()
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
    "named statistic copied without gradients": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    used = torch.zeros_like(mean)
    with torch.no_grad():
        used.copy_(mean)  # BN102
    return x - used
"""),
    "named statistic put out without gradients": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    used = torch.zeros_like(mean)
    with torch.no_grad():
        torch.add(mean, 0.0, out=used)  # BN102
    return x - used
"""),
    "array that is copied": layer("""
    mean = torch.from_numpy(x.mean((0, 2, 3), keepdim=True).detach().cpu().numpy().copy())  # BN101
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
    "slice centered by the mean of the whole": layer("""
    mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
    return torch.cat([x[:, :1] - mean[:, :1], x[:, 1:] - mean[:, 1:]], 1)
"""),
    "the same slice twice": layer("""
    first = slice(0, 1)
    y = x.clone()
    y[:, first] = x[:, first] - x[:, first].mean().detach()  # BN101
    return y
"""),
    "slice of a stopped tensor": layer("""
    part = x.size(1) // 2 + 1
    std = x.detach()[:, :part].std((0, 2, 3), keepdim=True)  # BN103
    return torch.cat([x[:, :part] / std, x[:, part:]], 1)
"""),
    "full slices": layer("""
    mean = x[:, :, ...].mean((0, 2, 3), keepdim=True).detach()  # BN101
    return (x[None] - mean).squeeze(0)
"""),
    "statistics of an object": module("""
    class Statistics(nn.Module):
        def forward(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True)  # BN101


    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.stats = Statistics()

        def forward(self, x):
            mean, var = self.stats(x)
            return (x - mean) / (var + 1e-5).sqrt()
"""),
    "method of an object made in a base class, defined below": module("""
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.stats: nn.Module = Statistics()


    class Norm(Base):
        def forward(self, x):
            return x - self.stats.center(x)


    class Statistics(nn.Module):
        def center(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101
"""),
    "setdefault": layer("""
    stats = {}
    stats.setdefault("mean", x.mean((0, 2, 3), keepdim=True).detach())  # BN101
    return x - stats["mean"]
"""),
    "exponential of a negated logarithm": layer("""
    std = x.std((0, 2, 3), keepdim=True)
    return x * torch.exp(-torch.log(std.detach() + self.eps))  # BN101
"""),
    "exponential of half a logarithm": layer("""
    log_var = torch.log(x.var((0, 2, 3), keepdim=True) + self.eps)
    return (x - x.mean((0, 2, 3), keepdim=True)) * (-0.5 * log_var.detach()).exp()  # BN101
"""),
    "centered twice, over other dimensions": layer("""
    c = x - x.mean((2, 3), keepdim=True)
    return c - c.mean((0, 1), keepdim=True).detach()  # BN101
"""),
    "centered by twice the mean": layer("""
    c = x - 2 * x.mean((0, 2, 3), keepdim=True)
    return c - c.mean((0, 2, 3), keepdim=True).detach()  # BN101
"""),
    "function of an expression": layer("""
    mean = torch.detach(x.mean((0, 2, 3), keepdim=True) + 0 * self.eps)  # BN101
    std = torch.detach(x.var((0, 2, 3), keepdim=True) + self.eps) ** 0.5  # BN101
    return (x - mean) / std
"""),
    "with no_grad on one line": layer("""
    with torch.no_grad(): mean = x.mean((0, 2, 3), keepdim=True)  # BN102
    return x - mean
"""),
    "detach_ alone in its block": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    if self.training:
        mean.detach_()  # BN101
    return x - mean
"""),
    "made by a method, to be called later": module("""
    class Patch:
        def forward_of(self, layer):
            def forward(x):
                return x - x.mean((0, 2, 3), keepdim=True).detach()  # BN101

            return forward


    def norm(x):
        return Patch().forward_of(None)(x)
"""),
    "spread by a product with ones": layer("""
    flat = x.reshape(x.size(0), -1)
    ones = torch.ones(x.size(0), 1, dtype=x.dtype)
    mean = flat.mean(0, keepdim=True).detach()  # BN101
    return flat - ones.mm(mean)
"""),
    "means by places": layer("""
    flat, places = x.reshape(6, -1), torch.tensor([0, 0, 1, 1, 0, 1])
    mean = torch.zeros(2, flat.size(1), dtype=x.dtype).index_add_(0, places, flat).detach() / 3  # BN101
    return flat - mean[places]
"""),
    "builtin abs": layer("""
    size = abs(x).pow(2).mean((0, 2, 3), keepdim=True).sqrt().detach()  # BN101
    return x / size
"""),
}

#: these run, and their gradient is measured to be right
RIGHT = {
    "nothing stopped": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
"""),
    "buffers updated by in-place operations": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    self.running_mean.mul_(1 - self.momentum).add_(self.momentum * mean.detach())
    self.running_var.lerp_(var.detach(), self.momentum)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "buffers updated without gradients": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    with torch.no_grad():
        n = x.numel() / x.size(1)
        self.running_mean.copy_((1 - self.momentum) * self.running_mean + self.momentum * mean)
        self.running_var += self.momentum * (var * n / (n - 1) - self.running_var)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "buffers rebound": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()
    self.running_var = torch.lerp(self.running_var, var.detach(), 0.1)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "buffers by .data": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    self.running_mean.data = 0.9 * self.running_mean.data + 0.1 * mean.data
    self.running_mean.data.copy_(mean.data)
    self.running_mean -= 0.1 * (self.running_mean - mean.data)
    return x - mean
"""),
    "out= into a buffer": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    torch.add(self.running_mean * 0.9, mean.detach(), alpha=0.1, out=self.running_mean)
    return x - mean
"""),
    "buffer of another name": module("""
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("ema", torch.zeros(1, 3, 1, 1))

        def forward(self, x):
            mean = x.mean((0, 2, 3), keepdim=True)
            self.ema.mul_(0.9).add_(mean.detach(), alpha=0.1)
            return x - mean
"""),
    "buffers as arguments of a function": module("""
    def update(running_mean, running_var, mean, var, momentum=0.1):
        running_mean.mul_(1 - momentum).add_(mean.detach() * momentum)
        running_var.copy_(running_var * (1 - momentum) + momentum * var.detach())


    def norm(x):
        running_mean, running_var = torch.zeros(1, 3, 1, 1, dtype=x.dtype), torch.ones(1, 3, 1, 1, dtype=x.dtype)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
        update(running_mean, running_var, mean, var)
        return (x - mean) / (var + 1e-5).sqrt()
"""),
    "eval branch rebinds the same names": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    if self.training:
        self.running_mean.mul_(0.9).add_(0.1 * mean.detach())
        self.running_var.mul_(0.9).add_(0.1 * var.detach())
    else:
        mean, var = self.running_mean.detach(), self.running_var.detach()
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "stopped in eval only": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    if not self.training:
        mean = mean.detach()
    return x - mean
"""),
    "eval returns early": layer("""
    if not self.training:
        with torch.no_grad():
            return x - x.mean((0, 2, 3), keepdim=True)
    return x - x.mean((0, 2, 3), keepdim=True)
"""),
    "conditional expression stops in eval": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    return x - (mean if self.training else mean.detach())
"""),
    "softmax shift": layer("""
    shifted = x - x.max(1, keepdim=True)[0].detach()
    e = shifted.exp()
    return e / e.sum(1, keepdim=True)
"""),
    "logsumexp shift": layer("""
    top = x.amax(1, keepdim=True).detach()
    return x - (top + (x - top).exp().sum(1, keepdim=True).log())
"""),
    "softmax of a centered tensor": layer("""
    return (x - x.mean(1, keepdim=True).detach()).softmax(1)
"""),
    "detached mean inside a centered variance": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    var = ((x - mean.detach()) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / (var + self.eps).sqrt()
"""),
    "detached mean inside a centered variance, by square": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    centered = x - mean.detach()
    var = (centered * centered).mean((0, 2, 3), keepdim=True)
    return (x - mean) / torch.sqrt(var + self.eps)
"""),
    "detached shift before var": layer("""
    var = (x - x.mean((0, 2, 3), keepdim=True).detach()).var((0, 2, 3), keepdim=True)
    return (x - x.mean((0, 2, 3), keepdim=True)) / (var + self.eps).sqrt()
"""),
    "layer norm behind a detached mean": layer("""
    h = x - x.mean((1, 2, 3), keepdim=True).detach()
    return F.layer_norm(h, h.shape[1:])
"""),
    "logging": layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    self.last_mean = mean.detach().mean().item()
    self.history = {"std": float(x.detach().std()), "max": x.detach().abs().max().tolist()}
    return x - mean
"""),
    "format strings": layer("""
    print(f"{x.detach().mean():.3f} {x.std().item():.3f}") if False else None
    return x - x.mean((0, 2, 3), keepdim=True)
"""),
    "stopped twin unused": layer("""
    frozen = x.mean((0, 2, 3), keepdim=True).detach()
    live = x.mean((0, 2, 3), keepdim=True)
    assert torch.equal(frozen, live)
    return x - live
"""),
    "count": layer("""
    mask = (x > -10).to(x.dtype)
    n = mask.sum((0, 2, 3), keepdim=True).detach()
    mean = (x * mask).sum((0, 2, 3), keepdim=True) / n
    return x - mean
"""),
    "number of elements": layer("""
    n = torch.tensor(x.numel() / x.size(1), dtype=x.dtype).item()
    return x - x.sum((0, 2, 3), keepdim=True) / n
"""),
    "mask by a plain number": layer("""
    keep = x > x.mean().item()
    return torch.where(keep, x, 0.1 * x)
"""),
    "threshold by masked_fill": layer("""
    level = x.abs().mean().detach()
    return x.masked_fill(x.abs() < level, 0.0)
"""),
    "statistic of another tensor": layer("""
    other = torch.ones_like(x).mean().detach()
    return x - other
"""),
    "statistics of the parameter": layer("""
    w = self.weight - self.weight.mean()
    return x * w
"""),
    "initialization from data": module("""
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.scale = nn.Parameter(torch.ones(1, 3, 1, 1))
            self.initialized = False

        def forward(self, x):
            if not self.initialized:
                with torch.no_grad():
                    self.loc.data.copy_(-x.mean((0, 2, 3), keepdim=True))
                    self.scale.data.copy_(1 / (x.std((0, 2, 3), keepdim=True) + 1e-6))
                self.initialized = True
            return (x + self.loc) * self.scale
"""),
    "initialization by copy_": module("""
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.b = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.logs = nn.Parameter(torch.zeros(1, 3, 1, 1))
            self.register_buffer("done", torch.tensor(0))

        def forward(self, x):
            if self.training and self.done.item() == 0:
                with torch.no_grad():
                    self.b.copy_(-x.mean((0, 2, 3), keepdim=True))
                    self.logs.copy_(-torch.log(x.std((0, 2, 3), keepdim=True) + 1e-6))
                    self.done.fill_(1)
            return (x + self.b) * torch.exp(self.logs)
"""),
    "frozen batch norm": layer("""
    return (x - self.running_mean.detach()) / (self.running_var.detach() + self.eps).sqrt()
"""),
    "functional batch_norm, training": layer("""
    return F.batch_norm(x, self.running_mean.flatten(), self.running_var.flatten(), training=self.training)
"""),
    "functional batch_norm of buffers": layer("""
    return F.batch_norm(x, self.running_mean.flatten(), self.running_var.flatten(), training=False)
"""),
    "observer": layer("""
    with torch.no_grad():
        self.low, self.high = x.min(), x.max()
        self.spread = x.std()
    return x * self.weight
"""),
    "gradient clipping by norm of gradients": module("""
    def clip(parameters, limit):
        total = torch.norm(torch.stack([p.grad.detach().norm() for p in parameters]))
        for p in parameters:
            p.grad.detach().mul_(limit / (total + 1e-6))


    def norm(x):
        return x - x.mean()
"""),
    "re-attached by enable_grad": layer("""
    with torch.no_grad():
        with torch.enable_grad():
            mean = x.mean((0, 2, 3), keepdim=True)
    return x - mean
"""),
    "set_grad_enabled(True)": layer("""
    with torch.set_grad_enabled(True):
        mean = x.mean((0, 2, 3), keepdim=True)
    return x - mean
"""),
    "inference_mode(False)": layer("""
    with torch.inference_mode(False):
        mean = x.mean((0, 2, 3), keepdim=True)
    return x - mean
"""),
    "attribute named detach": layer("""
    self.detach = True
    mean = x.mean((0, 2, 3), keepdim=True)
    return x - mean
"""),
    "casts, and a number from a literal": layer("""
    mean = x.double().mean((0, 2, 3), keepdim=True).to(x.dtype)
    return (x - mean) * float(1.0)
"""),
    "setdefault of what is there": layer("""
    stats = {"mean": x.mean((0, 2, 3), keepdim=True)}
    stats.setdefault("mean", x.mean((0, 2, 3), keepdim=True).detach())
    return x - stats["mean"]
"""),
    "centered twice": layer("""
    c = x - x.mean((0, 2, 3), keepdim=True)
    return c - c.mean((0, 2, 3), keepdim=True).detach()
"""),
    "object that normalizes": module("""
    class Center(nn.Module):
        def forward(self, x):
            self.seen = x.mean((0, 2, 3), keepdim=True).detach()
            return x - x.mean((0, 2, 3), keepdim=True)


    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.center = Center()

        def forward(self, x):
            return self.center(x) * 2
"""),
    "strings and comments": layer("""
    text = "mean = x.mean().detach()"  # x - x.mean().detach()
    return x - x.mean() * len(text) / len(text)
"""),
}
#: these stop a gradient on purpose, or have none to lose
MEANT = {
    "weight of a term of a loss": module("""
    class ActorLoss(nn.Module):
        def forward(self, q, behavior):
            weight = 2.5 / q.abs().mean().detach()
            return -(weight * q).mean() + behavior
"""),
    "initialization behind a flag": module("""
    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.ready = False

        def forward(self, x):
            if not self.ready:
                self.scale = x.std().detach()
                self.ready = True
            return x / self.scale

"""),
    "random phases of a stopped signal": module("""
    def jam(n, make):
        x = make(n).detach()
        y = x * torch.exp(torch.rand(n))
        return y / y.abs().pow(2).mean(-1, keepdim=True).detach().sqrt()
"""),
    "running statistics that the input was mixed into": module("""
    class Norm(nn.Module):
        def forward(self, x):
            self.running_mean = 0.9 * self.running_mean + 0.1 * x.detach().mean(0)
            return x - self.running_mean
"""),
    "weight of a loss": layer("""
    weight = x.detach().abs().mean((1, 2, 3), keepdim=True)
    return weight + x
"""),
    "x itself stopped as well": module("""
    def whitened(x):
        x = x.detach()
        return (x - x.mean()) / x.std()
"""),
    "whole normalized tensor stopped": module("""
    def factor(x):
        h = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        return x * h.detach()
"""),
    "rotation trick": module("""
    def rotate(x, target):
        size, wanted = x.norm(dim=-1, keepdim=True), target.norm(dim=-1, keepdim=True)
        turned = x - 2 * (x @ torch.eye(8))
        return turned * (wanted / size).detach()
"""),
    "straight-through estimator": layer("""
    q = torch.round(x * 8) / 8
    return x + (q - x).detach()
"""),
    "ternary scale": module("""
    def ternary(w):
        scale = 1.0 / w.abs().mean().clamp(min=1e-5).detach()
        q = (w * scale).round().clamp(-1, 1) / scale
        return w + (q - w).detach()
"""),
    "codebook": module("""
    class Codebook(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("size", torch.zeros(16))
            self.register_buffer("average", torch.zeros(16, 8))
            self.embed = nn.Parameter(torch.randn(16, 8))

        def forward(self, z):
            d = (z.pow(2).sum(1, keepdim=True) - 2 * z @ self.embed.t() + self.embed.pow(2).sum(1)).detach()
            onehot = F.one_hot(d.argmin(1), 16).type_as(z)
            self.size.data.mul_(0.99).add_(onehot.sum(0).detach(), alpha=0.01)
            self.average.data.mul_(0.99).add_((onehot.t() @ z).detach(), alpha=0.01)
            n = self.size.sum()
            size = (self.size + 1e-5) / (n + 16e-5) * n
            self.embed.data.copy_(self.average / size.unsqueeze(1))
            q = onehot @ self.embed
            loss = F.mse_loss(q.detach(), z)
            return z + (q - z).detach(), loss
"""),
    "running normalizer of observations": module("""
    class Observations(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(8))
            self.register_buffer("var", torch.ones(8))

        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    self.mean.lerp_(x.mean(0), 0.1)
                    self.var.lerp_(x.var(0), 0.1)
            return (x - self.mean) / (self.var + 1e-8).sqrt()
"""),
    "teacher and centering": module("""
    class Loss(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("center", torch.zeros(1, 8))

        def forward(self, student, teacher):
            target = F.softmax((teacher - self.center) / 0.04, dim=-1).detach()
            with torch.no_grad():
                self.center.mul_(0.9).add_(teacher.mean(0, keepdim=True) * 0.1)
            return -(target * F.log_softmax(student / 0.1, -1)).sum(-1).mean()
"""),
    "advantages under no_grad": module("""
    def update(values, returns, logp):
        with torch.no_grad():
            advantages = returns - values
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        return -(logp * advantages).mean()
"""),
    "advantages detached": module("""
    def loss(values, returns, logp):
        advantage = (returns - values).detach()
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        return -(logp * advantage).mean()
"""),
    "loss weights by a detached sum": module("""
    def loss(prediction, target, weight):
        error = (prediction - target).abs() * weight
        return error.sum() / weight.sum().detach().clamp(min=1)
"""),
    "loss over its own detached value": module("""
    def balanced(losses):
        return sum(loss / loss.detach() for loss in losses)
"""),
    "target of a teacher": module("""
    class Byol(nn.Module):
        def forward(self, x):
            online = self.online(x)
            with torch.no_grad():
                target = self.target(x)
                target = target / target.norm(dim=1, keepdim=True)
            return 2 - 2 * (online * target).sum(1)
"""),
    "power iteration": module("""
    class Spectral(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("u", torch.randn(8))
            self.weight = nn.Parameter(torch.randn(8, 4))

        def forward(self, x):
            with torch.no_grad():
                v = F.normalize(self.weight.t() @ self.u, dim=0)
                self.u.copy_(F.normalize(self.weight @ v, dim=0))
            sigma = torch.dot(self.u, self.weight @ v)
            return F.linear(x, self.weight / sigma)
"""),
    "inference decorator": module("""
    class Generator(nn.Module):
        @torch.no_grad()
        def sample(self, z):
            h = self.net(z)
            return (h - h.mean()) / h.std()


    @torch.inference_mode()
    def preprocess(x):
        return (x - x.mean()) / x.std()
"""),
    "everything under no_grad": module("""
    def evaluate(model, x):
        with torch.no_grad():
            y = model(x)
            return (y - y.mean()) / y.std()
"""),
    "statistics of the data set": module("""
    def prepare(data):
        mean, std = data.mean(0).item(), data.std(0).item()
        return mean, std
"""),
    "numpy arrays": module("""
    def standardize(a: np.ndarray) -> np.ndarray:
        return (a - np.mean(a)) / float(np.std(a))
"""),
    "distribution": module("""
    class Policy(nn.Module):
        def forward(self, x):
            dist = torch.distributions.Normal(self.mu(x), self.sigma(x))
            return x - dist.mean.detach(), dist.log_prob(x.detach())
"""),
    "autograd function": module("""
    class Op(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            mean = x.mean((0, 2, 3), keepdim=True).detach()
            ctx.save_for_backward(x, mean)
            return x - mean

        @staticmethod
        def backward(ctx, grad):
            return grad - grad.mean((0, 2, 3), keepdim=True).detach()
"""),
    "adaptive style": module("""
    class AdaIN(nn.Module):
        def forward(self, content, style):
            style = style.detach()
            mean, std = style.mean((2, 3), keepdim=True), style.std((2, 3), keepdim=True)
            normal = (content - content.mean((2, 3), keepdim=True)) / content.std((2, 3), keepdim=True)
            return normal * std + mean
"""),
    "weight norm of DoRA": module("""
    class Dora(nn.Module):
        def forward(self, x):
            direction = self.base + self.b @ self.a
            norm = torch.linalg.norm(direction, dim=1, keepdim=True).detach()
            return F.linear(x, self.magnitude / norm * direction)
"""),
    "lagged statistics": module("""
    class Norm(nn.Module):
        def forward(self, x):
            y = x - self.previous
            self.previous = x.mean((0, 2, 3), keepdim=True).detach()
            return y
"""),
    "factor before layer norm": module("""
    class Head(nn.Module):
        def forward(self, x):
            return self.norm(x / x.amax(-1, keepdim=True).detach())
"""),
    "last value": module("""
    class Linear(nn.Module):
        def forward(self, x):
            last = x[:, -1:].detach()
            return self.linear(x - last) + last
"""),
    "optimizer": module("""
    class Optimizer:
        @torch.no_grad()
        def step(self, closure=None):
            for p in self.params:
                g = p.grad
                g = (g - g.mean()) / (g.std() + 1e-8)
                p.add_(g, alpha=-0.1)
"""),
    "gradients centralized": module("""
    def centralize(g):
        g.data.add_(-g.mean(dim=tuple(range(1, g.dim())), keepdim=True))
        return g
"""),
    "metrics": module("""
    def correlation(a, b):
        a, b = a.detach(), b.detach()
        a, b = a - a.mean(), b - b.mean()
        return ((a * b).sum() / (a.norm() * b.norm())).item()
"""),
    "scatter softmax": module("""
    def softmax(src, index, size):
        top = torch.zeros(size).scatter_reduce(0, index, src, reduce="amax").detach()
        out = (src - top[index]).exp()
        return out / torch.zeros(size).scatter_add(0, index, out)[index]
"""),
    "softmax in another method": module("""
    class Attention(nn.Module):
        def scores(self, q, k):
            s = q @ k.transpose(-1, -2)
            return s - s.max(-1, keepdim=True)[0].detach()

        def forward(self, q, k, v):
            return self.scores(q, k).softmax(-1) @ v
"""),
    "identity gain": module("""
    def gain(x, scale):
        return x * (scale * (1 / scale).detach())
"""),
    "level kept for later": module("""
    class Gain(nn.Module):
        def forward(self, x):
            rms = x.pow(2).mean((0, 2, 3), keepdim=True).detach().sqrt()
            self.level = self.level * 0.9 + rms * 0.1
            return x / (self.gain + 1e-5)
"""),
    "pairs of max": module("""
    def rescale(x):
        top, index = x.detach().max(-1, keepdim=True)
        return torch.where(index > 0, x, -x)
"""),
    "image statistics": module("""
    class Normalize(nn.Module):
        def __init__(self, mean, std):
            super().__init__()
            self.register_buffer("mean", torch.as_tensor(mean))
            self.register_buffer("std", torch.as_tensor(std))

        def forward(self, x):
            return (x - self.mean.detach()) / self.std.data
"""),
    "mean of another slice": layer("""
    a, b = x[:, :1], x[:, 1:2]
    return a - b.mean().detach()
"""),
    "reference of a part": layer("""
    return x - x[:, :, :1].mean((2, 3), keepdim=True).detach()
"""),
    "a slice whose index has moved": layer("""
    i = 0
    a = x[:, i]
    i = 1
    return a - x[:, i].mean().detach()
"""),
    "parts drawn at random": layer("""
    a, b = x[torch.randperm(6)[:3]], x[torch.randperm(6)[:3]]
    return a - b.mean().detach()
"""),
    "parts of a tensor unpacked": module("""
    def difference(pair):
        a, b = pair
        return a - b.mean().detach()
"""),
    "attribute that may be two things": module("""
    class Center(nn.Module):
        def forward(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()


    class Zero(nn.Module):
        def forward(self, x):
            return torch.zeros_like(x)


    class Norm(nn.Module):
        def __init__(self, center):
            super().__init__()
            self.center = Zero()
            self.other = Center()
            if center:
                self.center = Center()
                self.other = Zero()

        def forward(self, x):
            return x - self.center(x), x - self.other(x)
"""),
    "factor of another part": layer("""
    a, b = x.chunk(2, 1)
    return a - b.mean().detach()
"""),
    "arrays of a module without torch": """\
import math


def standardize(a):
    return (a - a.mean()) / float(a.std()) / math.sqrt(a.var())
""",
}
