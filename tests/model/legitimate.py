"""Test material: models that detach something and are right, and every kind of normalization, live or stopped."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import Function

SHAPES = {
    "bn1d": (8, 6),
    "bn1d_sequence": (8, 6, 5),
    "bn2d": (4, 6, 5, 5),
    "bn3d": (3, 6, 3, 3, 3),
    "in2d": (4, 6, 5, 5),
    "ln": (4, 5, 12),
    "gn": (4, 6, 5, 5),
    "rms": (4, 5, 12),
}
GROUPS = 2


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows(x, kind):
    """One row per reduction group."""
    if kind.startswith("bn"):
        return x.transpose(0, 1).reshape(x.shape[1], -1)
    groups = {"in2d": x.shape[1], "gn": GROUPS}.get(kind)
    return x.reshape(-1, x.shape[-1]) if groups is None else x.reshape(x.shape[0] * groups, -1)


def unrows(values, shape, kind):
    if kind.startswith("bn"):
        return values.reshape(shape[1], shape[0], *shape[2:]).transpose(0, 1)
    return values.reshape(shape)


class Norm(nn.Module):
    """A normalization of any kind, written out; `stop` is none, mean, var or both."""

    def __init__(self, kind, channels, stop="none"):
        super().__init__()
        self.kind, self.stop, self.eps = kind, stop, 1e-5
        self.weight = nn.Parameter(torch.empty(channels).uniform_(0.5, 1.5))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-0.5, 0.5))

    def forward(self, x):
        r = rows(x, self.kind)
        if self.kind == "rms":
            mean = torch.zeros_like(r[:, :1])
            var = (r * r).mean(1, keepdim=True)
        else:
            mean = r.mean(1, keepdim=True)
            var = r.var(1, unbiased=False, keepdim=True)
        if self.stop in ("mean", "both"):
            mean = mean.detach()
        if self.stop in ("var", "both"):
            var = var.detach()
        out = unrows((r - mean) / torch.sqrt(var + self.eps), x.shape, self.kind)
        wide = [-1] if self.kind in ("ln", "rms") else [1, -1] + [1] * (x.dim() - 2)
        return out * self.weight.view(wide) + self.bias.view(wide)


class BatchNorm(nn.Module):
    """Written out, with running statistics updated the right way: without a gradient."""

    def __init__(self, channels, stop="none"):
        super().__init__()
        self.stop, self.eps = stop, 1e-5
        self.weight = nn.Parameter(torch.rand(channels) + 0.5)
        self.bias = nn.Parameter(torch.randn(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def update(self, mean, var):
        with torch.no_grad():
            self.running_mean.mul_(0.9).add_(0.1 * mean.detach())
            self.running_var.mul_(0.9).add_(0.1 * var)

    def apply_statistics(self, x, mean, var):
        mean, var, weight, bias = (t[None, :, None, None] for t in (mean, var, self.weight, self.bias))
        return (x - mean) / torch.sqrt(var + self.eps) * weight + bias

    def forward(self, x):
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        self.update(mean, var)
        mean = mean.detach() if self.stop in ("mean", "both") else mean
        var = var.detach() if self.stop in ("var", "both") else var
        return self.apply_statistics(x, mean, var)


class ImageNet(nn.Module):
    def __init__(self, norm, activation=F.relu, pool=False, dropout=0.0):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = norm
        self.conv2 = nn.Conv2d(6, 4, 3)
        self.activation, self.pool, self.dropout = activation, pool, dropout

    def forward(self, x):
        h = self.activation(self.norm(self.conv1(x)))
        h = F.max_pool2d(h, 2) if self.pool else h
        return self.conv2(F.dropout(h, self.dropout, self.training))


class TokenNet(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(12, 12), norm, nn.Linear(12, 3)

    def forward(self, x):
        return self.last(F.gelu(self.norm(self.first(x))))


class KindNet(nn.Module):
    def __init__(self, kind, stop):
        super().__init__()
        shape = SHAPES[kind]
        self.norm = Norm(kind, shape[-1] if kind in ("ln", "rms") else shape[1], stop)
        self.last = nn.Linear(shape[-1], 3)

    def forward(self, x):
        return self.last(F.relu(self.norm(torch.tanh(x) * 2)))


class LlamaRMS(nn.Module):
    def __init__(self, stop=False):
        super().__init__()
        self.weight, self.stop = nn.Parameter(torch.ones(12)), stop

    def forward(self, h):
        dtype = h.dtype
        h = h.to(torch.float32)
        var = h.pow(2).mean(-1, keepdim=True)
        var = var.detach() if self.stop else var
        return self.weight * (h * torch.rsqrt(var + 1e-6)).to(dtype)


class Float32LayerNorm(nn.LayerNorm):
    def forward(self, x):
        out = F.layer_norm(x.float(), self.normalized_shape, self.weight.float(), self.bias.float(), self.eps)
        return out.type_as(x)


class SpectralNet(ImageNet):
    def __init__(self):
        super().__init__(BatchNorm(6))
        self.conv1 = nn.utils.parametrizations.spectral_norm(self.conv1)


class StandardizedConv(nn.Conv2d):
    def forward(self, x):
        w = self.weight
        w = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
        return F.conv2d(x, w, self.bias, self.stride, self.padding)


class StandardizedNet(ImageNet):
    def __init__(self):
        super().__init__(BatchNorm(6))
        self.conv1 = StandardizedConv(3, 6, 3, padding=1)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.norm = nn.Linear(12, 12), nn.LayerNorm(12)

    def forward(self, x):
        scores = self.query(self.norm(x)) @ x.transpose(1, 2)
        weights = (scores - scores.max(-1, keepdim=True)[0].detach()).exp()
        return weights / weights.sum(-1, keepdim=True) @ x


class Byol(nn.Module):
    def __init__(self):
        super().__init__()
        self.online, self.target = ImageNet(BatchNorm(6)), ImageNet(BatchNorm(6))

    def forward(self, x):
        with torch.no_grad():
            target = F.normalize(self.target(x).flatten(1), dim=1)
        return ((F.normalize(self.online(x).flatten(1), dim=1) - target) ** 2).sum(1)


class Quantizer(nn.Module):
    def __init__(self):
        super().__init__()
        self.codes, self.norm, self.last = nn.Parameter(torch.randn(16, 12)), nn.LayerNorm(12), nn.Linear(12, 3)

    def forward(self, x):
        h = self.norm(x)
        nearest = torch.cdist(h.reshape(-1, 12), self.codes).argmin(1)
        return self.last(h + (self.codes[nearest].view_as(h) - h).detach())


class Reverse(Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


class After(nn.Module):
    """An image net with something legitimate behind it."""

    def __init__(self, then):
        super().__init__()
        self.net, self.then = ImageNet(BatchNorm(6)), then

    def forward(self, x):
        return self.then(self.net(x))


def straight_through(h):
    return h + ((h * 8).round() / 8 - h).detach()


def focal(h):
    p = h.flatten(1).softmax(-1)
    return -((1 - p.detach()) ** 2 * p.log())


class Frozen(BatchNorm):
    def forward(self, x):
        return self.apply_statistics(x, self.running_mean, self.running_var)


class ActNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.zeros(1, 6, 1, 1)), nn.Parameter(torch.zeros(1, 6, 1, 1))
        self.register_buffer("initialized", torch.tensor(0))

    def forward(self, x):
        if self.training and self.initialized.item() == 0:
            with torch.no_grad():
                self.shift.copy_(-x.mean((0, 2, 3), keepdim=True))
                self.scale.copy_(-torch.log(x.std((0, 2, 3), keepdim=True) + 1e-6))
                self.initialized.fill_(1)
        return (x + self.shift) * torch.exp(self.scale)


class GlobalResponse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6)), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        size = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
        out = self.weight * (x * (size / (size.mean(-1, keepdim=True) + 1e-6))) + self.bias + x
        return out.permute(0, 3, 1, 2)


class MedianNorm(nn.Module):
    def forward(self, x):
        median = x.flatten(2).median(-1)[0][..., None, None]
        spread = (x - median).abs().flatten(2).median(-1)[0][..., None, None]
        return (x - median) / (spread + 1e-3)


class LoggingNorm(BatchNorm):
    def forward(self, x):
        out = super().forward(x)
        self.last, self.mean = out.detach().mean().item(), float(x.mean())
        return out


class Recurrent(nn.Module):
    def __init__(self, stop="none"):
        super().__init__()
        self.lstm, self.norm, self.last = nn.LSTM(5, 12, batch_first=True), Norm("ln", 12, stop), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(self.norm(self.lstm(x)[0]))


class Clamped(ImageNet):
    def forward(self, x):
        h = self.norm(self.conv1(x))
        if h.requires_grad:
            h.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
        return self.conv2(F.relu(h))


class Experts(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate, self.norm = nn.Linear(12, 4), nn.LayerNorm(12)
        self.experts = nn.ModuleList(nn.Linear(12, 12) for _ in range(4))

    def forward(self, x):
        x = self.norm(x)
        weights, chosen = self.gate(x).softmax(-1).topk(2, -1)
        out = torch.stack([expert(x) for expert in self.experts], -2)
        return (out.gather(-2, chosen[..., None].expand(*chosen.shape, 12)) * weights[..., None]).sum(-2)


IMAGE, TOKENS = (4, 3, 8, 8), (4, 5, 12)
IMAGE_NETS = {
    "relu": lambda stop: ImageNet(BatchNorm(6, stop)),
    "max pool": lambda stop: ImageNet(BatchNorm(6, stop), pool=True),
    "dropout": lambda stop: ImageNet(BatchNorm(6, stop), dropout=0.5),
    "relu in place": lambda stop: ImageNet(BatchNorm(6, stop), activation=F.relu_),
}

#: name -> (factory, shape of its input)
LEGITIMATE = {
    **{name: (lambda make=make: make("none"), IMAGE) for name, make in IMAGE_NETS.items()},
    **{kind: (lambda kind=kind: KindNet(kind, "none"), shape) for kind, shape in SHAPES.items()},
    "llama rms norm": (lambda: TokenNet(LlamaRMS()), TOKENS),
    "layer norm in float32": (lambda: TokenNet(Float32LayerNorm(12)), TOKENS),
    "native batch norm": (lambda: ImageNet(nn.BatchNorm2d(6)), IMAGE),
    "native group norm": (lambda: ImageNet(nn.GroupNorm(2, 6)), IMAGE),
    "native instance norm": (lambda: ImageNet(nn.InstanceNorm2d(6, affine=True)), IMAGE),
    "native layer norm": (lambda: TokenNet(nn.LayerNorm(12)), TOKENS),
    "spectral norm": (SpectralNet, IMAGE),
    "weight standardization": (StandardizedNet, IMAGE),
    "softmax with detached maximum": (Attention, TOKENS),
    "byol target under no_grad": (Byol, IMAGE),
    "quantized codes": (Quantizer, TOKENS),
    "gradient reversal": (lambda: After(Reverse.apply), IMAGE),
    "straight through": (lambda: After(straight_through), IMAGE),
    "frozen batch norm": (lambda: ImageNet(Frozen(6)), IMAGE),
    "data-dependent initialization": (lambda: ImageNet(ActNorm()), IMAGE),
    "global response norm": (lambda: ImageNet(GlobalResponse()), IMAGE),
    "median norm": (lambda: ImageNet(MedianNorm()), IMAGE),
    "logging": (lambda: ImageNet(LoggingNorm(6)), IMAGE),
    "lstm and layer norm": (Recurrent, (3, 6, 5)),
    "gradient clamped by a hook": (lambda: Clamped(BatchNorm(6)), IMAGE),
    "top-k experts": (Experts, TOKENS),
    "detached loss weight": (lambda: After(focal), IMAGE),
}

#: (name, stop) -> (factory, shape of its input, names of the stopped statistics)
STOPPED = {}
for _stop, _names in {"mean": ("mean",), "var": ("var",), "both": ("mean", "var")}.items():
    for _name, _make in IMAGE_NETS.items():
        STOPPED[_name, _stop] = (lambda make=_make, stop=_stop: make(stop), IMAGE, _names)
    for _kind, _shape in SHAPES.items():
        if _kind != "rms":
            STOPPED[_kind, _stop] = (lambda kind=_kind, stop=_stop: KindNet(kind, stop), _shape, _names)
STOPPED["rms", "var"] = (lambda: KindNet("rms", "var"), SHAPES["rms"], ("rms",))
STOPPED["llama rms norm", "var"] = (lambda: TokenNet(LlamaRMS(stop=True)), TOKENS, ("rms",))
STOPPED["lstm and layer norm", "var"] = (lambda: Recurrent("var"), (3, 6, 5), ("var",))
