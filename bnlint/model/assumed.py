"""The input of a model that nobody named, as its layers tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, fx, nn
from torch.jit import ScriptModule

from bnlint.model.inputs import random_tensor
from bnlint.model.shapes import shapes_of

#: sizes of images to try: small ones, what most models of images are made for, and others that one may be made for
_IMAGES = (32, 64, 224, 28, 8, 16, 48, 96, 128, 256, 299)

#: a shape, and a type where it is not that of the parameters
_Shape = tuple[tuple[int, ...], torch.dtype | None]


def assumed(model: nn.Module) -> Iterator[tuple[Tensor, ...]]:
    """Yield inputs that a model may take, the likeliest first, on its device and in its precision.

    They fit the first layer that tells what it takes; those of an exported graph are noted in it.
    """
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    noted = _noted(model)
    shapes = next((list(found) for module in model.modules() if (found := _shapes(module))), [])
    for inputs in [noted] if noted else [[shape] for shape in shapes]:
        generator = torch.Generator().manual_seed(0)
        made = (random_tensor(shape, dtype or like.dtype, generator) for shape, dtype in inputs)
        yield tuple(tensor.to(like.device) for tensor in made)


def described(tensors: Iterable[Tensor]) -> str:
    """Write tensors as the command line takes them."""
    return " ".join(f"--input {_described(tensor)}" for tensor in tensors)


def _described(tensor: Tensor) -> str:
    shape = "x".join(map(str, tensor.shape))
    return shape if tensor.dtype is torch.float32 else f"{shape}:{str(tensor.dtype).removeprefix('torch.')}"


def _shapes(module: nn.Module) -> list[_Shape]:
    """Return the shapes that a layer may take."""
    if isinstance(module, ScriptModule):
        return _shapes_of_script(module)
    match module:
        case nn.Conv1d(in_channels=c):
            return [((4, c, size), None) for size in (32, 256)]
        case nn.Conv2d(in_channels=c):
            return [((4, c, size, size), None) for size in _IMAGES]
        case nn.Conv3d(in_channels=c):
            return [((2, c, size, size, size), None) for size in (8, 16, 32)]
        case nn.Linear(in_features=c):
            return [((8, c), None), ((4, 6, c), None), ((4, 6, 6, c), None)]
        case nn.Embedding() | nn.EmbeddingBag():
            return [((4, 8), torch.int64), ((8,), torch.int64)]
        case nn.RNNBase(input_size=c):
            return [((4, 6, c), None)]
        case _ if next(module.children(), None) is None:
            return [(shape, None) for shape in shapes_of(module)]
        case _:
            return []


def _shapes_of_script(module: ScriptModule) -> list[_Shape]:
    """Return the shapes that a compiled layer may take: its class is known by name, its width by its weight."""
    weight, name = getattr(module, "weight", None), str(module.original_name)
    if not isinstance(weight, Tensor) or weight.dim() < 2:
        return []
    made: nn.Module | None = None
    if name.startswith("Conv") and "Transpose" not in name and 3 <= weight.dim() <= 5:
        made = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[weight.dim() - 3](weight.shape[1], 1, 1, device="meta")
    elif name == "Linear":
        made = nn.Linear(weight.shape[1], 1, device="meta")
    elif name == "Embedding":
        made = nn.Embedding(1, 1, device="meta")
    return [] if made is None else _shapes(made)


def _noted(model: nn.Module) -> list[_Shape]:
    """Return the shapes and types of an exported graph's inputs."""
    if not isinstance(model, fx.GraphModule):
        return []
    values = [node.meta.get("val") for node in model.graph.nodes if node.op == "placeholder"]
    if not all(isinstance(value, Tensor) for value in values):
        return []
    return [(tuple(int(size) for size in value.shape), value.dtype) for value in values]
