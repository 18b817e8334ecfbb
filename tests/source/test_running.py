"""Running statistics in the shapes of real code: what is to be said of each, and silence where there is nothing."""

from __future__ import annotations

import textwrap

import pytest
from snippets import layer, marked, module

from bnlint.finding import Severity
from bnlint.source.check import check_source

SHAPES = {
    "returned by a function and stored": module("""
    def batch_norm(x, moving_mean, momentum):
        mean = x.mean((0, 2, 3), keepdim=True)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean  # BN201
        return x - mean, moving_mean


    class Norm(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(shape))
            self.register_buffer("moving_mean", torch.zeros(shape))

        def forward(self, x):
            y, self.moving_mean = batch_norm(x, self.moving_mean, 0.9)
            return y * self.weight
"""),
    "returned as data": module("""
    def batch_norm(x, moving_mean, momentum):
        mean = x.mean((0, 2, 3), keepdim=True)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean
        return x - mean, moving_mean.data


    class Norm(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(shape))
            self.register_buffer("moving_mean", torch.zeros(shape))

        def forward(self, x):
            y, self.moving_mean = batch_norm(x, self.moving_mean, 0.9)
            return y * self.weight
"""),
    "updated by a method that forward calls without gradients": layer(
        """
    def update(self, mean):
        self.running_mean.mul_(0.9).add_(0.1 * mean)
""",
        """
    mean = x.mean((0, 2, 3), keepdim=True)
    if not self.training:
        return x - self.running_mean
    with torch.no_grad():
        self.update(mean)
    return (x - mean) * self.weight
""",
    ),
    "attention that sums up within a sequence": module("""
    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(8, 8)
            self.seen = None

        def start(self, memory):
            self.seen = torch.zeros(4, 8)

        def forward(self, query):
            energy = self.project(query)
            weights = energy / energy.norm(dim=1, keepdim=True)
            self.seen += weights
            self.last = weights.detach()
            return weights
"""),
    "history outside a layer": module("""
    class Clustering(nn.Module):
        def __init__(self):
            super().__init__()
            self.project = nn.Linear(8, 8)
            self.history = torch.tensor([])

        def forward(self, x):
            self.history = torch.cat([self.history, self.project(x).mean(0, keepdim=True)])
            return self.history
"""),
    "spectra gathered over the pieces of one recording": module("""
    class Beamformer(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))
            self.register_buffer("spectrum", torch.zeros(3))

        def forward(self, x):
            self.spectrum = self.spectrum + (x * self.weight).mean(0)
            return x * self.weight * self.spectrum
"""),
    "observations": module("""
    class RunningMeanStd(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(size))
            self.register_buffer("running_var", torch.ones(size))

        def forward(self, x):
            if self.training:
                self.running_mean = 0.9 * self.running_mean + 0.1 * x.mean(0)
                self.running_var = 0.9 * self.running_var + 0.1 * x.var(0)
            return (x - self.running_mean) / (self.running_var + 1e-5).sqrt()
"""),
    "batch norm by its name, without weight and bias": module("""
    class SpatialBatchNorm(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.register_buffer("running_mean", torch.zeros(1, size, 1, 1))

        def forward(self, x):
            if self.training:
                with torch.no_grad():
                    self.running_mean += (x.mean((0, 2, 3), keepdim=True) - self.running_mean) * 0.1
            return x - self.running_mean  # BN106
"""),
    "batch statistics beside running ones": layer("""
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    with torch.no_grad():
        self.running_mean.lerp_(mean, 0.1)
        self.running_var.lerp_(var, 0.1)
    batch = (x - mean) / (var + self.eps).sqrt()
    return batch * self.weight + (x - self.running_mean) / (self.running_var + self.eps).sqrt()
"""),
    "handed to a function that may update it": layer("""
    if self.training:
        mean = x.mean((0, 2, 3), keepdim=True)
        self.synchronize(self.running_mean, mean)
    else:
        mean = self.running_mean
    return x - mean
"""),
}


@pytest.mark.parametrize("source", SHAPES.values(), ids=SHAPES.keys())
def test_running_statistics_are_judged_by_what_becomes_of_them(source: str) -> None:
    compile(source, "snippet.py", "exec")
    found = check_source(source.encode(), "snippet.py")
    harmful = {(f.location.line, f.code) for f in found if f.location and f.severity is not Severity.NOTE}
    assert harmful == set(marked(source))


UPDATE = "    mean = x.mean((0, 2, 3), keepdim=True)\n    with torch.no_grad():\n        {}\n    return x - mean"
REVERSED = "self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean"


@pytest.mark.parametrize(
    ("update", "said"),
    [
        (REVERSED, True),
        ("self.running_mean.mul_(self.momentum).add_(mean * (1.0 - self.momentum))", True),
        (REVERSED.replace("(1 - self.momentum)", "0.9"), False),
        ("self.running_mean = (1 - self.momentum) * self.running_mean + self.momentum * mean", False),
        ("self.running_mean.lerp_(mean, self.momentum)", False),
        ("self.running_mean -= self.momentum * (self.running_mean - mean)", False),
    ],
)
@pytest.mark.parametrize(("default", "small"), [("0.1", True), ("0.99", False)])
def test_momentum_is_reversed_where_a_small_one_weighs_the_old_value(
    update: str, said: bool, default: str, small: bool
) -> None:
    source = layer(UPDATE.format(update)).replace("def __init__(self):", f"def __init__(self, momentum={default}):")
    source = source.replace("self.momentum = 0.1", "self.momentum = momentum")
    codes = {finding.code for finding in check_source(source.encode(), "snippet.py")}
    assert ("BN206" in codes) == (said and small)


RUNNING_NORM = """
class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.register_buffer("running_mean", torch.zeros(size))

    def forward(self, x):
        mean = x.mean(0)
{}
"""
UPDATING = "self.running_mean = 0.9 * self.running_mean + 0.1 * mean.detach()"
SAID = {
    "a step behind": (
        f"y = x - self.running_mean\n{UPDATING}\nreturn y * self.weight",
        {"running_mean, as the steps before left it, normalizes this input in training, in place of the statistic"},
    ),
    "at once": (
        f"{UPDATING}\nreturn (x - self.running_mean) * self.weight",
        {"running_mean, just updated, normalizes this input in training, in place of the statistic of the batch"},
    ),
    "never updated": (
        "if self.training:\n    return (x - mean) * self.weight\nreturn (x - self.running_mean) * self.weight",
        {"running_mean normalizes in evaluation, and nothing in Norm ever updates it"},
    ),
    "never read": (
        f"{UPDATING}\nreturn (x - mean) * self.weight",
        {"running_mean is updated and never read: evaluation normalizes by the statistics of its own batch"},
    ),
    "never read, and evaluation normalizes nothing": (
        f"{UPDATING}\nif self.training:\n    return (x - mean) * self.weight\nreturn x * self.weight",
        set(),
    ),
}


def test_a_plain_attribute_is_told_to_be_no_buffer() -> None:
    body = f"{UPDATING}\nreturn (x - (mean if self.training else self.running_mean)) * self.weight"
    source = module(RUNNING_NORM.format(textwrap.indent(body, " " * 8)))
    assert not check_source(source.encode(), "snippet.py")
    source = source.replace(
        'self.register_buffer("running_mean", torch.zeros(size))', "self.running_mean = torch.zeros(size)"
    )
    (finding,) = check_source(source.encode(), "snippet.py")
    assert finding.message == "running_mean is a plain attribute: no checkpoint holds it, and .to() does not move it"


@pytest.mark.parametrize(("body", "said"), SAID.values(), ids=SAID.keys())
def test_what_is_told_of_running_statistics(body: str, said: set[str]) -> None:
    source = module(RUNNING_NORM.format(textwrap.indent(body, " " * 8)))
    told = {finding.message for finding in check_source(source.encode(), "snippet.py")}
    assert len(told) == len(said)
    assert all(any(message.startswith(start) for message in told) for start in said)
