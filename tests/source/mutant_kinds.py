"""The kinds of normalization that mutants are made of.

Expressions hold `{t}` for the tensor, `{m}` for its mean, `{v}` for its second statistic (a variance, a norm …) and
`{d}` for what that becomes in the end.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A normalization: its statistics, and how they are applied to their tensor.

    Attributes:
        shape: A small input.
        mean: The mean of `{t}`, None where there is none.
        spread: The second statistic of `{t}`, None where there is none.
        scale: What the second statistic becomes (of `{v}` and `{m}`).
        result: What the layer returns (of `{t}`, `{m}` and `{d}`).
        before: Lines that make another tensor of `x`; it is called `t`.
        update: Lines between the statistics and their use.
    """

    shape: tuple[int, ...]
    mean: str | None
    spread: str | None
    scale: str
    result: str
    before: str = ""
    update: str = ""


_IMAGE = (4, 3, 2, 3)
_ROWS = (5, 4)
_AFFINE = " * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)"
_CHANNELS = "(0, 2, 3), keepdim=True"
_UPDATE = """\
if self.training:
    with torch.no_grad():
        self.running_mean.mul_(0.9).add_({m}.flatten(), alpha=0.1)
        self.running_var.mul_(0.9).add_({v}.flatten(), alpha=0.1)
"""
_UPDATE_DETACHED = """\
self.running_mean = 0.9 * self.running_mean + 0.1 * {m}.detach().flatten()
self.running_var.lerp_({v}.detach().flatten(), 0.1)
"""

KINDS: dict[str, Kind] = {
    "batch 1d": Kind(
        _ROWS,
        "{t}.mean(0)",
        "{t}.var(0, unbiased=False)",
        "torch.sqrt({v} + self.eps)",
        "({t} - {m}) / {d} * self.weight + self.bias",
    ),
    "batch 1d of a sequence": Kind(
        (4, 3, 3),
        "torch.mean({t}, (0, 2), keepdim=True)",
        "torch.var({t}, (0, 2), keepdim=True)",
        "({v} + self.eps) ** -0.5",
        "({t} - {m}) * {d} * self.weight[:, None] + self.bias[:, None]",
    ),
    "batch 2d": Kind(
        _IMAGE,
        "{t}.mean(dim=[0, 2, 3])",
        "{t}.var(dim=[0, 2, 3], unbiased=False)",
        "({v} + self.eps).sqrt()",
        "({t} - {m}[None, :, None, None]) / {d}[None, :, None, None]" + _AFFINE,
    ),
    "batch 3d": Kind(
        (3, 2, 2, 2, 1),
        "{t}.mean((0, 2, 3, 4), keepdim=True)",
        "{t}.std((0, 2, 3, 4), keepdim=True)",
        "({v} + self.eps)",
        "torch.div(torch.sub({t}, {m}), {d})",
    ),
    "batch, running statistics without gradients": Kind(
        _IMAGE,
        f"{{t}}.mean({_CHANNELS})",
        f"{{t}}.var({_CHANNELS})",
        "torch.rsqrt({v} + self.eps)",
        "({t} - {m}).mul({d})" + _AFFINE,
        update=_UPDATE,
    ),
    "batch, running statistics detached": Kind(
        _IMAGE,
        f"{{t}}.mean({_CHANNELS})",
        f"{{t}}.var({_CHANNELS})",
        "{v}.add(self.eps).sqrt().reciprocal()",
        "{d} * ({t} - {m})" + _AFFINE,
        update=_UPDATE_DETACHED,
    ),
    "instance": Kind(
        (2, 3, 3, 2),
        "{t}.mean(-1, keepdim=True).mean(-2, keepdim=True)",
        "(({t} - {t}.mean((2, 3), keepdim=True).detach()) ** 2).mean((2, 3), keepdim=True)",
        "torch.sqrt({v} + self.eps)",
        "({t} - {m}) / {d}" + _AFFINE,
    ),
    "layer": Kind(
        (2, 3, 4),
        "{t}.mean(-1, keepdim=True)",
        "{t}.std(-1, keepdim=True, unbiased=False)",
        "({v} + self.eps)",
        "self.weight * ({t} - {m}) / {d} + self.bias",
    ),
    "layer, channels last": Kind(
        (2, 4, 2, 3),
        "{t}.mean(dim=-1, keepdim=True)",
        "{t}.var(-1, keepdim=True).add(1e-5)",
        "{v}.pow(0.5)",
        "(({t} - {m}) / {d}).permute(0, 3, 1, 2)",
        before="t = x.permute(0, 2, 3, 1)\n",
    ),
    "group": Kind(
        (3, 4, 2, 1),
        "{t}.mean(2, keepdim=True)",
        "torch.var({t}, dim=2, keepdim=True, unbiased=False)",
        "({v} + self.eps).sqrt()",
        "(({t} - {m}) / {d}).view_as(x)" + _AFFINE,
        before="t = x.reshape(x.size(0), 2, -1)\n",
    ),
    "root mean square": Kind(
        (2, 3, 4),
        None,
        "{t}.pow(2).mean(-1, keepdim=True)",
        "torch.rsqrt({v} + self.eps)",
        "{t} * {d} * self.weight",
    ),
    "unit length": Kind(
        (4, 4),
        None,
        "torch.linalg.vector_norm({t}, dim=1, keepdim=True)",
        "({v} + self.eps)",
        "{t}.div({d}.expand_as({t}))",
    ),
    "unit length by a sum of squares": Kind(
        (4, 4),
        None,
        "({t} * {t}).sum(1, keepdim=True)",
        "{v}.sqrt().clamp(min=self.eps)",
        "{t} / {d}",
    ),
    "mean of squares minus square of the mean": Kind(
        _IMAGE,
        f"{{t}}.mean({_CHANNELS})",
        f"({{t}} * {{t}}).mean({_CHANNELS})",
        "torch.sqrt({v} - {m} ** 2 + self.eps)",
        "({t} - {m}) / {d}" + _AFFINE,
    ),
    "sums over the number of elements": Kind(
        _IMAGE,
        f"{{t}}.sum({_CHANNELS}) / ({{t}}.numel() / {{t}}.size(1))",
        f"{{t}}.square().sum({_CHANNELS}) / ({{t}}.numel() / {{t}}.size(1))",
        "({v} - {m} * {m} + self.eps).sqrt()",
        "({t} - {m}) / {d}" + _AFFINE,
    ),
    "centering": Kind(_ROWS, "{t}.mean(0, keepdim=True)", None, "", "{t} - {m}"),
    "whole tensor": Kind(_ROWS, "{t}.mean()", "{t}.std()", "({v} + self.eps)", "({t} - {m}) / {d}"),
    "scale and shift folded": Kind(
        _IMAGE,
        "torch.mean({t}, dim=(0, 2, 3), keepdim=True)",
        f"{{t}}.var({_CHANNELS})",
        "torch.rsqrt({v} + self.eps) * self.weight.view(1, -1, 1, 1)",
        "{t} * {d} + (self.bias.view(1, -1, 1, 1) - {m} * {d})",
    ),
    "pairs of statistics": Kind(
        _IMAGE,
        f"torch.var_mean({{t}}, {_CHANNELS})[1]",
        f"torch.std_mean({{t}}, {_CHANNELS})[0]",
        "({v} + self.eps)",
        "({t} - {m}) / {d}",
    ),
    "global pooling": Kind(
        _IMAGE,
        "F.adaptive_avg_pool2d({t}, 1)",
        "F.avg_pool2d({t} * {t}, {t}.shape[2:])",
        "({v} - {m}.pow(2) + self.eps).sqrt()",
        "({t} - {m}) / {d}",
    ),
    "einsum": Kind(
        _IMAGE,
        'torch.einsum("nchw->c", {t}) / ({t}.numel() / {t}.size(1))',
        'torch.einsum("nchw,nchw->c", {t}, {t}) / ({t}.numel() / {t}.size(1))',
        "({v} - {m} ** 2 + self.eps).sqrt()",
        "({t} - {m}.view(1, -1, 1, 1)) / {d}.view(1, -1, 1, 1)",
    ),
    "largest magnitude": Kind(
        (3, 5),
        None,
        "{t}.abs().amax(1, keepdim=True)",
        "({v} + self.eps)",
        "{t} / {d}",
    ),
    "range": Kind(
        (3, 5),
        "{t}.amin(1, keepdim=True)",
        "({t}.amax(1, keepdim=True) - {t}.amin(1, keepdim=True))",
        "({v} + self.eps)",
        "({t} - {m}) / {d}",
    ),
    "median and quantile": Kind(
        (3, 5),
        "{t}.median(1, keepdim=True).values",
        "torch.quantile({t}.abs(), 0.8, dim=1, keepdim=True)",
        "({v} + self.eps)",
        "({t} - {m}) / {d}",
    ),
    "log-sum-exp": Kind(_ROWS, "torch.logsumexp({t}, 1, keepdim=True)", None, "", "{t} - {m}"),
    "softmax of a shifted tensor": Kind(_ROWS, "{t}.mean(1, keepdim=True)", None, "", "F.softmax({t} - {m}, dim=1)"),
    "softmax by hand": Kind(
        _ROWS,
        "{t}.amax(1, keepdim=True)",
        None,
        "",
        "torch.exp({t} - {m}) / torch.exp({t} - {m}).sum(1, keepdim=True)",
    ),
    "layer norm of a shifted tensor": Kind(
        _ROWS, "{t}.mean(1, keepdim=True)", None, "", "F.layer_norm({t} - {m}, {t}.shape[1:])"
    ),
    "in place": Kind(
        _IMAGE,
        f"{{t}}.mean({_CHANNELS})",
        f"{{t}}.std({_CHANNELS})",
        "({v} + self.eps)",
        "{t}.clone().sub_({m}).div_({d}).mul_(self.weight.view(1, -1, 1, 1))",
    ),
}
