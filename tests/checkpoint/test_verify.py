"""What is written is compared bit by bit, and so is who shares memory with whom."""

import copy
import io

import pytest
import torch
from torch import nn

from bnlint.checkpoint.verify import require_same
from bnlint.errors import InputError


def content():
    torch.manual_seed(0)
    shared = torch.randn(6)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    return {
        "model": model,
        "pair": [shared[:3], shared[3:]],
        "zero": torch.tensor([0.0, float("nan")]),
        "best": float("nan"),
        "numbers": (1, 0.5, "x", None, b"y"),
        "layers": [nn.BatchNorm1d(1), nn.BatchNorm1d(1)],
        "expanded": torch.zeros(1).expand(10**12),
    }


def again(value):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_what_torch_reads_back_is_the_same():
    require_same(content(), again(content()), "x.pt")
    loop = content()
    loop["self"] = loop
    require_same(loop, loop, "x.pt")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda c: c["zero"].mul_(-1), "zero"),  # 0.0 becomes -0.0
        (lambda c: c.update(best=0.5), "best"),
        (lambda c: c.update(numbers=(1, 0.5, "x", None, b"z")), "numbers.4"),
        (lambda c: c.update(numbers=(1, 0.5)), "numbers"),
        (lambda c: c.update(pair=[c["pair"][0].clone(), c["pair"][1]]), "pair.0"),
        (lambda c: c.update(pair=[c["pair"][0], copy.deepcopy(c["pair"])[1]]), "pair.1"),
        (lambda c: c.update(zero=c["zero"].double()), "zero"),
        (lambda c: c.pop("best"), "the file"),
        (lambda c: c["model"][0].weight.requires_grad_(False), "model._modules.0._parameters.weight"),
        (lambda c: c["model"][1].running_mean.add_(1), "model._modules.1._buffers.running_mean"),
        (lambda c: c["model"].eval(), "model.training"),
        # Values that Python holds once, such as True, are compared at every place.
        (lambda c: c["layers"][1].eval(), "layers.1.training"),
        (lambda c: c.update(model=nn.Sequential(c["model"][0])), "model._modules"),
    ],
)
def test_any_difference_is_named(change, place):
    read = again(content())
    with torch.no_grad():
        change(read)
    with pytest.raises(InputError, match=rf"`{place}` does not read back"):
        require_same(content(), read, "x.pt")
