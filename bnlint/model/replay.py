"""Runs a recorded graph again, each node in the modes it was recorded in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.autograd.graph import GradientEdge

from bnlint.model.told import place_of, telling


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


class Recorded(fx.GraphModule):
    """A graph module that only `Replay` runs: torch writes and compiles no code for it."""

    def recompile(self) -> Any:
        """Do nothing, where torch would write the code of `forward`."""


class Replay(fx.Interpreter):
    """Runs a graph of the recorder, re-entering the grad, inference and autocast mode of each node.

    Any other graph (`fx.symbolic_trace`, an exported program) it runs as it is. Whoever records the replay is told
    where each node stands.

    A replay updates the buffers of the graph module as the model would update its own, and may change its
    inputs in place: pass clones, and run it inside `preserved(graph_module)` to run it twice.
    """

    def watched(self) -> list[GradientEdge]:
        """Return where, beside the inputs, the gradient of the outputs is asked for after a run: here nowhere."""
        return []

    def arrived(self, gradients: Sequence[Tensor | None]) -> None:
        """Take the gradients that arrive there, while autograd's graph is still whole."""

    def run_node(self, n: fx.Node) -> Any:
        """Run one node in its own modes; plumbing nodes have none."""
        if n.op in ("placeholder", "get_attr", "output"):
            return super().run_node(n)
        if n.op == "call_module":  # it has frames of its own
            return super().run_node(n)
        with telling(place_of(n)):
            return self._run_call(n)

    def _run_call(self, n: fx.Node) -> Any:
        if "autocast" not in n.meta:
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


@contextmanager
def node_by_node(module: nn.Module) -> Iterator[None]:
    """Run a graph module by `Replay` while this lasts; any other module runs as it does."""
    if not isinstance(module, fx.GraphModule) or "forward" in vars(module):
        yield
        return
    names = [str(node.target) for node in module.graph.nodes if node.op == "placeholder"]

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = [*args]
        for name in names[len(args) :]:
            if name in kwargs:
                given.append(kwargs[name])
        if len(given) != len(args) + len(kwargs):
            return type(module).forward(module, *args, **kwargs)
        return Replay(module).run(*given)

    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
