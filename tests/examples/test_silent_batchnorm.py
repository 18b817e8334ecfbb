"""The bundled example: the converter shares, the layer is right forwards and wrong backwards, the script trains."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

EXAMPLE = Path(__file__).parents[2] / "examples" / "silent_batchnorm"


@dataclass(frozen=True)
class Example:
    layers: ModuleType
    train: ModuleType


@pytest.fixture(scope="module")
def example() -> Iterator[Example]:
    """Import the two files as a run inside their folder does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXAMPLE))
        for name in ("layers", "train"):
            patch.delitem(sys.modules, name, raising=False)
        yield Example(layers=importlib.import_module("layers"), train=importlib.import_module("train"))
        for name in ("layers", "train"):
            del sys.modules[name]


@pytest.fixture
def batch() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(4, 3, 5, 5, dtype=torch.float64, generator=generator) * 2 + 1).requires_grad_()


def batch_norm(cls: type[nn.BatchNorm2d]) -> nn.BatchNorm2d:
    """A layer for three channels whose eps and parameters are far from the defaults, so that none can be lost."""
    layer = cls(3, eps=0.1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.5, -2.0]))
        layer.bias.copy_(torch.tensor([1.0, -1.0, 0.25]))
    return layer


def reference(layer: nn.BatchNorm2d, x: torch.Tensor) -> torch.Tensor:
    """The layer on torch's fused operator, whose variance is biased: `var_unbiased = var_biased / k`."""
    n = x.numel() // x.shape[1]
    k = (n - 1) / n
    return F.batch_norm(x, None, None, layer.weight * k**0.5, layer.bias, training=True, eps=layer.eps * k)


def gradients(layer: nn.BatchNorm2d, output: torch.Tensor, x: torch.Tensor) -> dict[str, torch.Tensor]:
    cotangent = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(output, [x, layer.weight, layer.bias], cotangent)
    return dict(zip(("input", "weight", "bias"), found, strict=True))


def relative_error(seen: torch.Tensor, true: torch.Tensor) -> float:
    return float((seen - true).norm() / true.norm())


def test_conversion_swaps_all_batch_norms_and_shares_every_parameter_and_buffer(example: Example) -> None:
    native = example.layers.resnet18()
    parameters, buffers = dict(native.named_parameters()), dict(native.named_buffers())

    converted = example.layers.convert(native)

    layers = [m for m in converted.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(layers) == 20
    assert all(type(layer) is example.layers.BatchNorm2d_new for layer in layers)
    for before, after in ((parameters, converted.named_parameters()), (buffers, converted.named_buffers())):
        now = dict(after)
        assert list(now) == list(before)
        assert all(now[name] is before[name] for name in before)


def test_conversion_keeps_eps_momentum_and_mode_of_a_single_layer(example: Example) -> None:
    converted = example.layers.convert(nn.BatchNorm2d(3, eps=0.1, momentum=0.3).eval())

    assert (converted.eps, converted.momentum, converted.training) == (0.1, 0.3, False)


@pytest.mark.parametrize("training", [True, False])
def test_outputs_are_those_of_batch_norm_with_the_unbiased_variance(
    example: Example, batch: torch.Tensor, training: bool
) -> None:
    layer = batch_norm(example.layers.BatchNorm2d_new).train(training)
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}

    torch.testing.assert_close(layer(batch), reference(layer, batch), rtol=0, atol=1e-12)

    assert all(torch.equal(buffer, buffers[name]) for name, buffer in layer.named_buffers())


def test_input_gradient_is_wrong_although_its_own_parameters_have_the_right_one(
    example: Example, batch: torch.Tensor
) -> None:
    layer = batch_norm(example.layers.BatchNorm2d_new)

    seen, true = gradients(layer, layer(batch), batch), gradients(layer, reference(layer, batch), batch)

    assert relative_error(seen["input"], true["input"]) > 1e-2
    assert max(relative_error(seen[name], true[name]) for name in ("weight", "bias")) < 1e-12


def test_each_stop_does_harm_and_without_both_the_gradient_is_right(batch: torch.Tensor) -> None:
    source = (EXAMPLE / "layers.py").read_text(encoding="utf-8")
    stop = ".detach().clone()"
    before, between, after = source.split(stop)
    variants = {
        "mean stopped": before + stop + between + after,
        "var stopped": before + between + stop + after,
        "live": before + between + after,
    }

    errors = {}
    for name, text in variants.items():
        namespace: dict[str, Any] = {"__name__": name}
        exec(text, namespace)
        layer = batch_norm(namespace["BatchNorm2d_new"])
        true = gradients(layer, reference(layer, batch), batch)
        errors[name] = relative_error(gradients(layer, layer(batch), batch)["input"], true["input"])

    assert errors["live"] < 1e-12
    assert min(errors["mean stopped"], errors["var stopped"]) > 1e-2


def test_native_and_broken_model_start_from_the_same_weights_and_both_are_trained(example: Example) -> None:
    models = example.train.build_models(seed=0)
    start = {name: value.clone() for name, value in models["native"].named_parameters()}
    assert all(torch.equal(value, start[name]) for name, value in models["broken"].named_parameters())

    images, labels = example.train.load_images()
    histories = example.train.train(models, images, labels, steps=2, seed=0, lr=0.1, batch_size=4)

    for name, model in models.items():
        assert len(histories[name].loss) == len(histories[name].accuracy) == 2
        assert all(map(math.isfinite, histories[name].loss))
        moved = [not torch.equal(value, start[key]) for key, value in model.named_parameters()]
        assert sum(moved) > 0.9 * len(moved)


def test_the_images_are_the_digits_of_scikit_learn(example: Example) -> None:
    images, labels = example.train.load_images()

    assert images.shape == (1797, 3, 32, 32)
    assert (float(images.min()), float(images.max())) == (0.0, 1.0)
    assert sorted(labels.unique().tolist()) == list(range(10))


def test_one_shuffle_shows_no_image_twice_and_the_seed_fixes_it(example: Example) -> None:
    batches = [torch.cat(list(example.train.random_batches(10, 3, steps=3, seed=seed))) for seed in (0, 0, 1)]

    assert len(batches[0].unique()) == 9
    assert torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[0], batches[2])
