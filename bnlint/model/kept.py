"""Which running statistics of a live layer keep the graph of the steps before: two steps are run, and looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from bnlint.model.state import preserved


def keeping_graphs(layer: nn.Module, run: Callable[[Tensor], object], x: Tensor) -> tuple[str, ...]:
    """Name the buffers and plain tensors of a layer that lead back to the input of a step before.

    Args:
        layer: The layer, in training mode; it is left as found.
        run: Runs it on an input.
        x: Its input.
    """
    with preserved(layer), torch.enable_grad():
        first = x.clone().requires_grad_()
        run(first)
        try:
            run(x.clone().requires_grad_())
        except RuntimeError:
            return ()
        return tuple(name for name, tensor in _state(layer) if _leads_to(tensor.grad_fn, first))


def _state(layer: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from layer.named_buffers()
    yield from ((name, value) for name, value in vars(layer).items() if isinstance(value, Tensor))


def _leads_to(function: Any, leaf: Tensor) -> bool:
    todo, seen = [function], {function}
    while todo:
        current = todo.pop()
        if getattr(current, "variable", None) is leaf:
            return True
        for following, _ in current.next_functions if current is not None else ():
            if following not in seen:
                seen.add(following)
                todo.append(following)
    return False
