"""What the tensors of a model are called."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


def names_of(model: nn.Module) -> dict[int, tuple[str, str, Tensor]]:
    """Map the id of each tensor of the model to its first name, its kind, and itself (or the id could be reused)."""
    names: dict[int, tuple[str, str, Tensor]] = {}
    for name, parameter in model.named_parameters():
        names.setdefault(id(parameter), (name, "parameter", parameter))
    for tensor, name, kind in state_of(model):
        names.setdefault(id(tensor), (name, kind, tensor))
    return names


def state_of(model: nn.Module) -> Iterator[tuple[Tensor, str, str]]:
    """Yield the buffers of a model, then its plain tensors, each with its name and kind."""
    for name, buffer in model.named_buffers():
        yield buffer, name, "buffer"
    for path, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor):
                yield value, f"{path}.{attribute}".lstrip("."), "constant"
