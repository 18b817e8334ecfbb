"""The formula of a normalization layer: what is reported where, and what is left alone."""

from __future__ import annotations

import pytest
from snippets import IMPORTS, layer, marked, module

from bnlint.finding import Severity
from bnlint.source.check import check_source
from bnlint.source.text import SourceText, apply


def found(source: str) -> list[tuple[int, str]]:
    """The lines of the findings about the formula, with their codes."""
    findings = check_source(source.encode(), "snippet.py")
    return sorted({(f.location.line, f.code) for f in findings if f.location and f.code.startswith("BN3")})


def norm(base: str, body: str, name: str = "Norm") -> str:
    """A layer that gets its parameters and buffers from a base class."""
    lines = "".join(f"        {line}\n" for line in body.strip().splitlines())
    return f"{IMPORTS}class {name}({base}):\n    def forward(self, x):\n{lines}"


OVER = "(0, 2, 3), keepdim=True"
BIASED = f"x.var({OVER}, unbiased=False)"

REPORTED = {
    "std": layer(f"""
        mean = x.mean({OVER})
        std = x.std({OVER})  # BN301
        return self.weight * (x - mean) / (std + self.eps) + self.bias  # BN302
    """),
    "centered before": layer(f"""
        x = x - x.mean({OVER})
        x = x * torch.rsqrt(x.var({OVER}) + self.eps)  # BN301
        return x * self.weight + self.bias
    """),
    "function": layer(f"""
        mean, var = torch.mean(x, {OVER}), torch.var(x, {OVER})  # BN301
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias
    """),
    "in a helper": layer(
        f"""
        def statistics(self, x):
            return x.mean({OVER}), x.var({OVER})  # BN301
        """,
        """
        mean, var = self.statistics(x)
        return (x - mean) / (var + self.eps).sqrt() * self.weight + self.bias
        """,
    ),
    "reciprocal of the root": layer(f"""
        inverse = (x.var({OVER}) + self.eps).sqrt().reciprocal()  # BN301
        return (x - x.mean({OVER})) * inverse * self.weight
    """),
    "folded into scale and shift": layer(f"""
        scale = self.weight * torch.rsqrt(x.var({OVER}) + self.eps)  # BN301
        return x * scale + (self.bias - x.mean({OVER}) * scale)
    """),
    "in training only": norm(
        "nn.BatchNorm2d",
        """
mean, var = self.running_mean, self.running_var
if self.training:
    var, mean = torch.var_mean(x, (0, 2, 3))  # BN301
return (x - mean.view(1, -1, 1, 1)) / torch.sqrt(var.view(1, -1, 1, 1) + self.eps)
""",
    ),
    "running statistics beside it": layer(f"""
        mean, var = x.mean({OVER}), x.var({OVER})  # BN301
        self.running_var.lerp_(var.detach(), 0.1)
        return (x - mean) / torch.sqrt(var + self.eps)
    """),
    "computed statistics in batch_norm": norm(
        "nn.BatchNorm2d",
        """
mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))  # BN301
return F.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
""",
    ),
    "no eps in a root mean square": layer("""
        return x * torch.rsqrt((x * x).mean(1, keepdim=True)) * self.weight  # BN302
    """),
    "no eps, rescaled": layer(f"""
        var = {BIASED} * 4
        return (x - x.mean({OVER})) / var ** 0.5 * self.weight  # BN302
    """),
    "clamped root": layer(f"""
        std = {BIASED}.sqrt().clamp(min=1e-5)  # BN302
        return (x - x.mean({OVER})) / std * self.weight
    """),
    "stopped, and no eps": layer(f"""
        std = {BIASED}.sqrt().detach()
        return (x - x.mean({OVER})) / std * self.weight  # BN302
    """),
    "activated at once": norm(
        "nn.BatchNorm2d",
        """
var, mean = torch.var_mean(x, (0, 2, 3), keepdim=True)  # BN301
return F.relu((x - mean) / torch.sqrt(var + self.eps))
""",
    ),
    "learned eps outside": layer(f"""
        std = torch.sqrt({BIASED}) + self.bias.view(1, 3, 1, 1)  # BN302
        return (x - x.mean({OVER})) / std * self.weight
    """),
    "weight in another layout, dimensions that differ": layer("""
        mean = x.mean((0, 2, 3), keepdim=True)
        var = x.var((2, 3), unbiased=False, keepdim=True)  # BN303
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight.view(1, 3, 1, 1)
    """),
    "sum of squares": layer("""
        length = x.pow(2).sum(1, keepdim=True).sqrt() + 1e-10  # BN302
        return self.weight * x / length
    """),
    "eps outside of a cancelling variance": layer(f"""
        mean = x.mean({OVER})
        var = (x ** 2).mean({OVER}) - mean ** 2  # BN304
        return (x - mean) / (torch.sqrt(var) + 1e-5) * self.weight  # BN302
    """),
    "sums by their count": layer("""
        count = x.numel() / x.size(1)
        mean = x.sum((0, 2, 3), keepdim=True) / count
        var = (x * x).sum((0, 2, 3), keepdim=True) / count - mean ** 2  # BN304
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias
    """),
    "cancelling in groups": layer("""
        y = x.reshape(x.size(0), 4, -1)
        mean = y.mean(-1, keepdim=True)
        var = (y * y).mean(-1, keepdim=True) - mean.square()  # BN304
        y = ((y - mean) / torch.sqrt(var + self.eps)).reshape(x.shape)
        return y * self.weight + self.bias
    """),
    "leaves out the batch": norm(
        "nn.BatchNorm3d",
        """
mean = x.mean((2, 3, 4), keepdim=True)  # BN303
return (x - mean) / torch.sqrt(x.var((0, 2, 3, 4), unbiased=False, keepdim=True) + self.eps)
""",
    ),
    "holds the channels, counted from the end": norm(
        "nn.BatchNorm2d",
        """
mean = x.mean(dim=(0, -3), keepdim=True)  # BN303
return (x - mean) / torch.sqrt(x.var((0, 2, 3), unbiased=False, keepdim=True) + self.eps)
""",
    ),
    "instance norm over the batch": norm(
        "nn.InstanceNorm2d",
        """
x = x.float()
mean = x.mean((0, 2, 3), keepdim=True)  # BN303
var = (x - mean).pow(2).mean((0, 2, 3), keepdim=True)  # BN303
return (x - mean) / torch.sqrt(var + self.eps)
""",
    ),
}


@pytest.mark.parametrize("source", REPORTED.values(), ids=REPORTED.keys())
def test_the_formula_of_a_layer_is_reported(source: str) -> None:
    compile(source, "snippet.py", "exec")
    assert found(source) == sorted(set(marked(source))) != []


@pytest.mark.parametrize(
    ("statistic", "name", "told"),
    [
        (f"x.var({OVER})", "var", "the unbiased variance,"),
        (f"x.std({OVER}) ** 2", "std", "the unbiased standard deviation,"),
    ],
)
def test_findings_about_the_formula_name_their_statistic(statistic: str, name: str, told: str) -> None:
    body = f"std = torch.sqrt({statistic}) + self.eps\nreturn (x - x.mean({OVER})) / std * self.weight"
    findings = check_source(layer(body).encode(), "snippet.py")
    by_code = {finding.code: finding for finding in findings}
    assert told in by_code["BN301"].message
    assert {finding.statistic for finding in findings} == {name}
    assert name == "std" or "gets a gradient of NaN" in by_code["BN302"].message


SILENT = {
    "biased in every spelling": layer(f"""
        mean, var = x.mean({OVER}), x.var((0, 2, 3), False, True)
        x = (x - mean) / torch.sqrt(var + self.eps)
        x = (x - x.mean({OVER})) / torch.sqrt(x.var({OVER}, correction=0) + self.eps)
        return x * self.weight + self.bias
    """),
    "correction unknown": layer(f"""
        mean, var = x.mean({OVER}), x.var({OVER}, unbiased=self.unbiased)
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight
    """),
    "unbiased for the buffer alone": layer(f"""
        self.running_var.copy_(x.var({OVER}).detach())
        return (x - x.mean({OVER})) / torch.sqrt({BIASED} + self.eps) * self.weight
    """),
    "scale without centering": layer(f"""
        return x / torch.sqrt(x.var({OVER}) + self.eps) * self.weight
    """),
    "divided by the variance itself": layer(f"""
        return (x - x.mean({OVER})) / (x.var({OVER}) + self.eps) * self.weight
    """),
    "a function": module("""
        def norm(advantage):
            return (advantage - advantage.mean()) / advantage.std()
    """),
    "a method that is no forward": module("""
        class Buffer(nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(3, 1, 1))

            def standardized(self, x):
                self.last = x.mean().detach()
                return (x - x.mean()) / x.std() * self.weight
    """),
    "no class of torch": module("""
        class Norm:
            def __init__(self):
                self.weight = nn.Parameter(torch.ones(3, 1, 1))

            def forward(self, x):
                return (x - x.mean()) / x.std() * self.weight
    """),
    "in the middle of a network": module("""
        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.conv = nn.Conv2d(3, 3, 1)
                self.weight = nn.Parameter(torch.ones(3, 1, 1))

            def forward(self, x):
                return self.conv((x - x.mean()) / x.std()) * self.weight
    """),
    "without parameters": module("""
        class Norm(nn.Module):
            def forward(self, x):
                return (x - x.mean()) / x.std()
    """),
    "statistics of weights": layer("""
        var, mean = torch.var_mean(self.weight, (1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / torch.sqrt(var))
    """),
    "evaluation": norm(
        "nn.BatchNorm2d",
        """
if self.training:
    return F.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)
return (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True)
""",
    ),
    "norm of torch": layer("return x / (x.norm(dim=1, keepdim=True) + self.eps) * self.weight"),
    "learned eps": layer(f"""
        return (x - x.mean({OVER})) / torch.sqrt({BIASED} + self.bias.abs()) * self.weight
    """),
    "bound under the root": layer(f"""
        return (x - x.mean({OVER})) / torch.sqrt({BIASED}.clamp(min=1e-5)) * self.weight
    """),
    "zero is replaced": layer(f"""
        std = torch.sqrt({BIASED})
        std = torch.where(std > 0, std, torch.ones_like(std))
        return (x - x.mean({OVER})) / std * self.weight
    """),
    "squared deviation": layer(f"""
        return (x - x.mean({OVER})) / torch.sqrt(x.std({OVER}, unbiased=False) ** 2 + self.eps) * self.weight
    """),
    "mixed with other dimensions": norm(
        "nn.BatchNorm2d",
        f"""
mean = 0.5 * x.mean({OVER}) + 0.5 * x.mean((2, 3), keepdim=True)
return (x - mean) / torch.sqrt({BIASED} + self.eps)
""",
    ),
    "instance norm over positions": norm(
        "nn.InstanceNorm2d",
        """
var, mean = torch.var_mean(x, (2, 3), unbiased=False, keepdim=True)
return (x - mean) / torch.sqrt(var + self.eps)
""",
    ),
    "mixed with running statistics": layer(f"""
        var = 0.5 * {BIASED} + 0.5 * self.running_var
        return (x - x.mean({OVER})) / torch.sqrt(var) * self.weight
    """),
    "mean of another tensor": layer(f"""
        var = (x * x).mean({OVER}) - self.weight.mean() ** 2
        return (x - x.mean({OVER})) / torch.sqrt(var + self.eps) * self.weight
    """),
    "double precision": layer(f"""
        y = x.to(torch.float64)
        mean = y.mean({OVER})
        var = (y * y).mean({OVER}) - mean * mean
        return ((y - mean) / torch.sqrt(var + self.eps)).float() * self.weight
    """),
    "sums of several processes": layer("""
        both = torch.cat([x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))])
        mean, square = AllReduce.apply(both).chunk(2)
        mean, var = mean.view(1, -1, 1, 1), (square - mean * mean).view(1, -1, 1, 1)
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight
    """),
    "sums of several processes, in place": layer("""
        mean, square = x.mean((0, 2, 3), keepdim=True), (x * x).mean((0, 2, 3), keepdim=True)
        torch.distributed.all_reduce(mean)
        torch.distributed.all_reduce(square)
        return (x - mean) / torch.sqrt(square - mean * mean + self.eps) * self.weight
    """),
    "scaled, then mixed": layer(f"""
        return F.conv2d((x - x.mean({OVER})) / x.std({OVER}) * self.weight, self.kernel)
    """),
    "dimensions counted from both ends": layer(f"""
        var = x.var((0, -1, -2), unbiased=False, keepdim=True)
        return (x - x.mean({OVER})) / torch.sqrt(var + self.eps) * self.weight
    """),
    "dimensions of another layout": layer(f"""
        y = x.flatten(2)
        return (x - x.mean({OVER})) / torch.sqrt(y.var((0, 2), unbiased=False)[:, None, None] + self.eps) * self.weight
    """),
    "named as another norm": norm(
        "nn.BatchNorm2d",
        """
var = x.var((2, 3), unbiased=False, keepdim=True)
return (x - x.mean((2, 3), keepdim=True)) / torch.sqrt(var + self.eps)
""",
        "InstanceNorm",
    ),
    "another layout": norm(
        "nn.BatchNorm2d",
        """
x = x.transpose(0, 1).flatten(1)
return (x - x.mean(1, keepdim=True)) / torch.sqrt(x.var(1, unbiased=False, keepdim=True) + self.eps)
""",
    ),
    "unknown number of dimensions": norm(
        "nn.BatchNorm1d",
        """
return (x - x.mean((0, 1), keepdim=True)) / torch.sqrt(x.var((0, 1), unbiased=False, keepdim=True) + self.eps)
""",
    ),
    "mean in two steps": norm(
        "nn.BatchNorm2d",
        f"""
mean = x.mean((2, 3), keepdim=True).mean(0, keepdim=True)
return (x - mean) / torch.sqrt({BIASED} + self.eps)
""",
    ),
    "arrays": IMPORTS.replace("import torch\nimport torch.nn.functional as F\nfrom torch import nn\n", "")
    + """
class Norm(nn.Module):
    def __init__(self):
        self.weight = nn.Parameter(1)

    def forward(self, x):
        return (x - x.mean(0)) / x.std(0) * self.weight
""",
}


@pytest.mark.parametrize("source", SILENT.values(), ids=SILENT.keys())
def test_other_arithmetic_is_left_alone(source: str) -> None:
    compile(source, "snippet.py", "exec")
    assert found(source) == []


@pytest.mark.parametrize(
    ("key", "old", "new", "code"),
    [
        pytest.param("biased in every spelling", "(0, 2, 3), False, True", "(0, 2, 3), True, True", "BN301"),
        pytest.param("biased in every spelling", "correction=0", "correction=1", "BN301"),
        pytest.param("correction unknown", "self.unbiased", "True", "BN301"),
        pytest.param("a method that is no forward", "def standardized", "def forward", "BN302"),
        pytest.param("no class of torch", "class Norm:", "class Norm(nn.Module):", "BN302"),
        pytest.param("in the middle of a network", "self.conv((x - x.mean()) / x.std())", "x / x.std()", "BN302"),
        pytest.param("evaluation", "if self.training", "if not self.training", "BN303"),
        pytest.param("learned eps", " + self.bias.abs()", "", "BN302"),
        pytest.param("bound under the root", ".clamp(min=1e-5)", "", "BN302"),
        pytest.param("zero is replaced", "torch.where(std > 0, std, torch.ones_like(std))", "std * 1.0", "BN302"),
        pytest.param("mean of another tensor", "self.weight.mean()", f"x.mean({OVER})", "BN304"),
        pytest.param("double precision", "x.to(torch.float64)", "x.to(torch.float32)", "BN304"),
        pytest.param("sums of several processes, in place", "torch.distributed.all_reduce", "print", "BN304"),
        pytest.param("scaled, then mixed", "F.conv2d", "torch.add", "BN302"),
        pytest.param("named as another norm", "class InstanceNorm", "class Norm", "BN303"),
        pytest.param("another layout", "x = x.transpose(0, 1).flatten(1)", "", "BN303"),
        pytest.param("unknown number of dimensions", "BatchNorm1d", "BatchNorm2d", "BN303"),
        pytest.param("mean in two steps", ".mean(0, keepdim=True)", "", "BN303"),
        pytest.param("arrays", "\nclass", "\nimport torch\n\nclass", "BN302"),
    ],
)
def test_one_change_makes_it_a_finding(key: str, old: str, new: str, code: str) -> None:
    source = SILENT[key]
    assert old in source
    assert code in {c for _, c in found(source.replace(old, new))}


FIXES = {
    "method": ("x.var((0, 2, 3), keepdim=True)", "x.var((0, 2, 3), keepdim=True, unbiased=False)"),
    "no arguments": ("x.var()", "x.var(unbiased=False)"),
    "a comma at the end": ("x.var((0, 2, 3), keepdim=True,)", "x.var((0, 2, 3), keepdim=True, unbiased=False,)"),
    "spelled out": ("x.var(0, unbiased=True)", "x.var(0, unbiased=False)"),
    "correction": ("torch.var(x, dim=0, correction=1)", "torch.var(x, dim=0, correction=0)"),
    "wide characters": ("x.var((0, 2), keepdim=bool('é😀'))", "x.var((0, 2), keepdim=bool('é😀'), unbiased=False)"),
    "over lines": (
        "x.var(\n            (0, 2, 3),\n            keepdim=True,\n        )",
        "x.var(\n            (0, 2, 3),\n            keepdim=True, unbiased=False,\n        )",
    ),
    "positional": ("x.var((0, 2, 3), True, True)", None),
    "a comment inside": ("x.var(\n            0,  # batch\n        )", None),
    "parenthesized": ("x.var((0), keepdim=(True))", None),
}


@pytest.mark.parametrize(("old", "new"), FIXES.values(), ids=FIXES.keys())
def test_the_biased_variance_is_an_unsafe_fix(old: str, new: str | None) -> None:
    body = f"var = {old}\n        return (x - x.mean()) / torch.sqrt(var + self.eps) * self.weight"
    source = layer("pass").replace("        pass", f"        {body}")
    (finding,) = check_source(source.encode(), "snippet.py")
    assert finding.code == "BN301"
    assert finding.severity is Severity.NOTE
    assert (finding.fix is None) == (new is None)
    if finding.fix is not None and new is not None:
        assert not finding.fix.safe
        assert apply(SourceText.decode(source.encode()), finding.fix.edits) == source.replace(old, new)


ROOTS = {
    "function": ("(torch.sqrt(var) + self.eps)", "torch.sqrt(var + self.eps)"),
    "method": ("(var.sqrt() + 1e-5)", "(var + 1e-5).sqrt()"),
    "in a call": ("torch.clone(torch.sqrt(var) + self.eps)", "torch.clone(torch.sqrt(var + self.eps))"),
    "eps first": ("(1e-5 + torch.sqrt(2 * var))", "torch.sqrt((2 * var) + 1e-5)"),
    "power": ("(var ** 0.5 + 1e-5)", None),
    "bound": ("var.sqrt().clamp(min=1e-5)", None),
}


@pytest.mark.parametrize(("old", "new"), ROOTS.values(), ids=ROOTS.keys())
def test_eps_goes_under_the_root_by_an_unsafe_fix(old: str, new: str | None) -> None:
    source = layer(f"""
        var = {BIASED}
        return (x - x.mean({OVER})) / {old} * self.weight
    """)
    (finding,) = check_source(source.encode(), "snippet.py")
    assert finding.code == "BN302"
    assert finding.severity is Severity.WARNING
    assert (finding.fix is None) == (new is None)
    if finding.fix is not None and new is not None:
        assert not finding.fix.safe
        assert apply(SourceText.decode(source.encode()), finding.fix.edits) == source.replace(old, new)
