"""Runs a recorded graph again, each node in the modes it was recorded in."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, fx


def set_item(tensor: Tensor, index: Any, value: Any) -> Tensor:
    """Store into a tensor (`tensor[index] = value`) and return it, so that a graph can say what it holds afterwards."""
    tensor[index] = value
    return tensor


def set_attribute(tensor: Tensor, name: str, value: Any) -> Tensor:
    """Set an attribute of a tensor (`tensor.data = value`) and return it."""
    setattr(tensor, name, value)
    return tensor


def written(tensor: Tensor, writer: Any) -> Tensor:
    """Return `tensor` as it is after the node `writer` changed its memory through another tensor (a view, `.data`)."""
    return tensor


class Replay(fx.Interpreter):
    """Runs a graph of the recorder, re-entering the grad, inference and autocast mode of each node.

    A replay updates the buffers of the graph module as the model would update its own, and may change its
    inputs in place: pass clones, and run it inside `preserved(graph_module)` to run it twice.
    """

    def run_node(self, n: fx.Node) -> Any:
        """Run one node in its own modes; plumbing nodes have none."""
        if n.op in ("placeholder", "get_attr", "output"):
            return super().run_node(n)
        enabled, dtype = n.meta["autocast"]
        device = n.meta["device"]
        with ExitStack() as modes:
            if n.meta["inference"] != torch.is_inference_mode_enabled():
                modes.enter_context(torch.inference_mode(n.meta["inference"]))
            modes.enter_context(torch.set_grad_enabled(n.meta["grad"]))
            if enabled or torch.is_autocast_enabled(device):
                modes.enter_context(torch.autocast(device, dtype=dtype, enabled=enabled))
            return super().run_node(n)
