"""Stops that are meant, or harmless, or of bounded harm: a note or a warning on the marked lines, never an error."""

from __future__ import annotations

from snippets import layer, module

#: the marked lines carry a note that gives this reason
NOTED = {
    "batch renormalization": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    std = (var + self.eps).sqrt()
    running_std = (self.running_var + self.eps).sqrt()
    r = (std.detach() / running_std).clamp(1 / 3, 3)  # BN101
    d = ((mean.detach() - self.running_mean) / running_std).clamp(-5, 5)  # BN101
    return (x - mean) / std * r + d
"""),
    "batch renormalization under no_grad": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    std = (var + self.eps).sqrt()
    with torch.no_grad():
        r = torch.clamp(std / self.running_var.sqrt(), 1 / 3, 3)  # BN102
        d = torch.clamp((mean - self.running_mean) / self.running_var.sqrt(), -5, 5)  # BN102
    return (x - mean) / std * r + d
"""),
    "quantizer": module("""
    class Quantizer(nn.Module):
        def forward(self, w):
            s = w.abs().mean().detach()  # BN101
            return torch.round((w / s).clamp(-1, 1)) * s
"""),
    "quantizer of a parameter": module("""
    class Quantized(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width, width))

        def forward(self, x):
            s = self.weight.abs().amax().detach()  # BN101
            return x @ (torch.round(self.weight / s) * s)
"""),
    "style mixing": module("""
    class MixStyle(nn.Module):
        def forward(self, x):
            mu = x.mean(dim=[2, 3], keepdim=True)
            var = x.var(dim=[2, 3], keepdim=True)
            sig = (var + 1e-6).sqrt()
            mu, sig = mu.detach(), sig.detach()  # BN101
            x_normed = (x - mu) / sig
            perm = torch.randperm(x.size(0))
            lam = 0.5
            mu_mix = mu * lam + mu[perm] * (1 - lam)
            sig_mix = sig * lam + sig[perm] * (1 - lam)
            return x_normed * sig_mix + mu_mix
"""),
    "flag guards the stop": module("""
    class Norm(nn.Module):
        def __init__(self, detach=False):
            super().__init__()
            self.stop = detach

        def forward(self, x):
            var = x.var((0, 2, 3), keepdim=True)
            if self.stop:
                var = var.detach()  # BN101
            return x / (var + 1e-5).sqrt()
"""),
    "flag inside the reduction": module("""
    class Norm(nn.Module):
        def forward(self, x, frozen=False):
            var = (x.detach() if frozen else x).var((0, 2, 3), keepdim=True)  # BN103
            return x / (var + 1e-5).sqrt()
"""),
    "reversible instance normalization": module("""
    class RevIN(nn.Module):
        def forward(self, x, mode):
            if mode == "norm":
                self._get_statistics(x)
                return self._normalize(x)
            return self._denormalize(x)

        def _get_statistics(self, x):
            self.mean = torch.mean(x, dim=1, keepdim=True).detach()  # BN101
            self.stdev = torch.sqrt(torch.var(x, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()  # BN101

        def _normalize(self, x):
            return (x - self.mean) / self.stdev

        def _denormalize(self, x):
            return x * self.stdev + self.mean
"""),
    "raw series": module("""
    class Forecaster(nn.Module):
        def forward(self, x_enc):
            means = x_enc.mean(1, keepdim=True).detach()  # BN101
            x_enc = x_enc - means
            stdev = torch.sqrt(torch.var(x_enc, dim=1, keepdim=True, unbiased=False) + 1e-5).detach()  # BN101
            x_enc = x_enc / stdev
            y = self.projection(self.encoder(x_enc))
            return y * stdev + means
"""),
    "object with a flag": module("""
    class Center(nn.Module):
        def __init__(self, detach):
            super().__init__()
            self.stop = detach

        def forward(self, x):
            mean = x.mean((0, 2, 3), keepdim=True)
            return mean.detach() if self.stop else mean  # BN101


    class Norm(nn.Module):
        def __init__(self, detach=True):
            super().__init__()
            self.center = Center(detach)

        def forward(self, x):
            return x - self.center(x)
"""),
    "reversible normalization over two methods": module("""
    class Pair(nn.Module):
        def normalize(self, x):
            self.mean = x.mean(1, keepdim=True).detach()  # BN101
            self.std = (x.var(1, keepdim=True) + 1e-5).sqrt().detach()  # BN101
            return (x - self.mean) / self.std

        def restore(self, y):
            scale = self.std[:, :, :1].unsqueeze(-1)
            return y * scale + self.mean[:, :, :1].unsqueeze(-1)
"""),
    "reversible normalization chosen by a string": module("""
    class RevIN(nn.Module):
        def forward(self, x, mode):
            if mode == "norm":
                self.mean = x.mean(1, keepdim=True).detach()  # BN101
                self.stdev = x.std(1, keepdim=True).detach()  # BN101
                return (x - self.mean) / self.stdev
            elif mode == "denorm":
                x = x * self.stdev
                return x + self.mean
"""),
    "said by a comment above": layer("""
    std = x.std((0, 2, 3), keepdim=True)
    # we need to detach the scale here,
    # otherwise training is unstable
    return x / std.detach()  # BN101
"""),
    "said by a comment on the line": layer("""
    std = x.std((0, 2, 3), keepdim=True).detach()  # BN101, on purpose: no gradient through the scale
    return x / std
"""),
    "input of a forecasting model": module("""
    class Forecaster(nn.Module):
        def forward(self, x_enc):
            x_enc = x_enc - x_enc.mean(1, keepdim=True).detach()  # BN101
            return self.projection(self.encoder(x_enc))
"""),
    "class of a scaler": module("""
    class StandardScaler(nn.Module):
        def forward(self, data):
            loc = data.mean(1, keepdim=True).detach()  # BN101
            return data - loc
"""),
    "style mixed into the live statistics": module("""
    class Mix(nn.Module):
        def forward(self, x):
            mu, sig = x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)
            normed = (x - mu.detach()) / sig.detach()  # BN101
            order = torch.randperm(x.size(0))
            return normed * (0.5 * sig + 0.5 * sig[order]) + 0.5 * mu + 0.5 * mu[order]
"""),
    "method for the inputs of a network": module("""
    class Descriptor(nn.Module):
        def input_norm(self, x):
            return (x - x.mean((1, 2, 3), keepdim=True).detach()) / x.std((1, 2, 3), keepdim=True).detach()  # BN101

        def forward(self, x):
            return self.features(self.input_norm(x))
"""),
    "option named for it": layer("""
    if not self.detach:
        return F.group_norm(x, 1)
    return x / x.std((1, 2, 3), keepdim=True).detach()  # BN101
"""),
    "one of several kinds": module("""
    class Center(nn.Module):
        def forward(self, x):
            if self.kind == "frozen":
                return x - x.mean(0, keepdim=True).detach()  # BN101
            elif self.kind == "live":
                return x - x.mean(0, keepdim=True)
            return x
"""),
    "said by the docstring": module("""
    class Scale(nn.Module):
        def forward(self, x):
            '''Divide by a gauge; detaching it leaves the derivative unchanged.'''
            return self.tail(x / x.std((1, 2, 3), keepdim=True).detach())  # BN101
"""),
    "layer that only takes out a factor": module("""
    class DivideMax(nn.Module):
        def forward(self, x):
            top = x.amax(-1, keepdim=True).detach()  # BN101
            return x / top
"""),
    "comment in a loss": module("""
    class Loss(nn.Module):
        def forward(self, x):
            # stop-gradient on the scale: it must not be learned
            return (x / x.std(0).detach()).sum()  # BN101
"""),
    "number in a tool for data": module("""
    class Transform:
        def __call__(self, sample):
            return (sample - sample.mean().item()) / sample.std().item()  # BN104
"""),
    "shift before layer norm": module("""
    class Head(nn.Module):
        def forward(self, x):
            return self.layer_norm(x - x.mean(-1, keepdim=True).detach())  # BN101
"""),
}

#: the marked lines carry a warning
WARNED = {
    "weight standardization": module("""
    class Conv(nn.Conv2d):
        def __init__(self, *args):
            super().__init__(*args)
            self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

        def forward(self, x):
            w = self.weight
            w = w - w.mean((1, 2, 3), keepdim=True).detach()  # BN101
            return F.conv2d(x, w / w.std((1, 2, 3), keepdim=True))
"""),
    "weight standardization by .data": module("""
    class Conv(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 3, 3, 3))

        def forward(self, x):
            w = self.weight
            mean = w.data.mean((1, 2, 3), keepdim=True)  # BN103
            return F.conv2d(x, w.add(-mean).div(w.data.std((1, 2, 3), keepdim=True)))  # BN103
"""),
    "function of a weight": module("""
    def standardize(weight):
        return weight / weight.norm(dim=1, keepdim=True).detach()  # BN101
"""),
    "features of a loss": module("""
    class StyleLoss(nn.Module):
        def forward(self, features, target):
            features = features - features.mean((2, 3), keepdim=True).detach()  # BN101
            return F.mse_loss(features, target)
"""),
}
