"""Stops that the static check is known to miss, each with the reason; a test fails when one is found after all."""

from __future__ import annotations

import pytest
from snippets import gradient_error, layer, module, reported

#: name → why it is not found, and a layer whose gradient is measured to be wrong
MISSED = {
    "hook that zeroes the gradient": (
        "what a hook does to a gradient is not followed; the runtime check finds it",
        layer("""
    mean = x.mean((0, 2, 3), keepdim=True)
    if mean.requires_grad:
        mean.register_hook(lambda gradient: gradient * 0)
    return x - mean
"""),
    ),
    "autograd function without a gradient": (
        "the inside of an autograd.Function is its author's own derivative; the runtime check finds it",
        module("""
    class Mean(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.mean((0, 2, 3), keepdim=True)

        @staticmethod
        def backward(ctx, gradient):
            return None


    def norm(x):
        return x - Mean.apply(x)
"""),
    ),
    "covariance of whitening": (
        "a product of matrices is not known to be a statistic",
        module("""
    def norm(x):
        rows = x.transpose(0, 1).reshape(3, -1)
        centered = rows - rows.mean(1, keepdim=True)
        covariance = (centered @ centered.t() / rows.size(1) + 1e-3 * torch.eye(3, dtype=x.dtype)).detach()
        return torch.linalg.solve_triangular(torch.linalg.cholesky(covariance), centered, upper=False)
"""),
    ),
    "mean by a product with ones": (
        "a product of matrices is not known to be a statistic",
        module("""
    def norm(x):
        rows = x.reshape(6, -1)
        mean = torch.ones(1, 6, dtype=x.dtype) @ rows / 6
        return rows - mean.detach()
"""),
    ),
    "mean over a window": (
        "only pooling that leaves one value per channel is a statistic: what is subtracted here is a blurred copy",
        module("""
    def norm(x):
        return x - F.avg_pool2d(x, 3, 1, 1).detach()
"""),
    ),
    "mean of the largest": (
        "a selection is another tensor than what it was selected from",
        module("""
    def norm(x):
        rows = x.flatten(1)
        return rows - rows.topk(5, dim=1).values.mean(1, keepdim=True).detach()
"""),
    ),
    "text of a statistic": (
        "a number that becomes text and a number again is lost",
        module("""
    def norm(x):
        return x - float(str(x.mean().item()))
"""),
    ),
    "flag that is always set": (
        "a branch that a flag decides is meant by somebody: a note, never an alarm",
        module("""
    class Norm(nn.Module):
        def __init__(self, frozen=True):
            super().__init__()
            self.frozen = frozen

        def forward(self, x):
            mean = x.mean((0, 2, 3), keepdim=True)
            if self.frozen:
                mean = mean.detach()
            return x - mean
"""),
    ),
    "minimum without a scale": (
        "a shift by an extreme is the usual first step of a softmax, which does not change with it",
        module("""
    def norm(x):
        return x - x.amin(1, keepdim=True).detach()
"""),
    ),
    "class in a function": (
        "a class that a function makes is not described",
        module("""
    def build(dims):
        class Norm(nn.Module):
            def forward(self, x):
                return x - x.mean(dims, keepdim=True).detach()

        return Norm()


    def norm(x):
        return build((0, 2, 3))(x)
"""),
    ),
    "function in a function without arguments": (
        "a function that takes no tensor is not followed, nor is what it gives back",
        module("""
    def build():
        def center(x):
            return x - x.mean((0, 2, 3), keepdim=True).detach()

        return center


    norm = build()
"""),
    ),
    "lambda with a name": (
        "a lambda is followed where a function calls it, and is no function to begin with",
        module("""
    norm = lambda x: x - x.mean((0, 2, 3), keepdim=True).detach()
"""),
    ),
    "statistics that a constructor keeps": (
        "what a constructor does with a tensor is not followed, but for those of data classes and tuples",
        module("""
    class Statistics:
        def __init__(self, x):
            self.mean = x.mean((0, 2, 3), keepdim=True).detach()


    def norm(x):
        return x - Statistics(x).mean
"""),
    ),
    "context by another name": (
        "a name of no_grad that is bound by an assignment outside of functions is not known",
        module("""
    frozen = torch.no_grad


    def norm(x):
        with frozen():
            mean = x.mean((0, 2, 3), keepdim=True)
        return x - mean
"""),
    ),
    "context that a condition chooses": (
        "which of two contexts is entered is not followed",
        module("""
    import contextlib


    def norm(x):
        with torch.no_grad() if x.requires_grad else contextlib.nullcontext():
            mean = x.mean((0, 2, 3), keepdim=True)
        return x - mean
"""),
    ),
    "absolute mean of a subtraction": (
        "a mean that centers after its sign is lost is no normalization that anybody writes",
        module("""
    def norm(x):
        return x - x.abs().mean((0, 2, 3), keepdim=True).detach()
"""),
    ),
}


@pytest.mark.parametrize("name", MISSED)
def test_missed(name: str) -> None:
    _, source = MISSED[name]
    assert gradient_error(source) > 1e-4
    assert reported(source) == []
