"""What a recorded graph can do without beside stops: numbers that statistics became, and buffers they went through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import fx

from bnlint.flow.sites import Statistic
from bnlint.model.lower import Lowered
from bnlint.model.replay import written

_READ_OUT = frozenset({"item", "__float__", "numpy", "tolist"})


def without_numbers(module: fx.GraphModule, lowered: Lowered, stopped: Sequence[Statistic]) -> int:
    """Let a statistic that is read out of its tensor stay a tensor, and say how often one was.

    Changes the graph in place.
    """
    read = {
        node
        for statistic in stopped
        for stop in statistic.stops
        if (node := lowered.nodes[stop]).target in _READ_OUT or _gathers(node)
    }
    for node in [node for node in module.graph.nodes if node in read]:
        if _gathers(node):
            _stack(node)
        else:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    return len(read)


def _gathers(node: fx.Node) -> bool:
    """Whether a node makes a tensor of a list of numbers, or of a tensor."""
    return node.target in {torch.tensor, torch.as_tensor, torch.FloatTensor} or node.target == "new_tensor"


def _stack(node: fx.Node) -> None:
    """Make `torch.tensor(numbers)` a stack of tensors."""
    source = node.args[1] if node.target == "new_tensor" else node.args[0]
    graph = node.graph
    with graph.inserting_before(node):
        made = graph.call_function(torch.stack, (source,)) if isinstance(source, list) else source
        if made is not source:
            made.meta = node.meta | {"live": None}  # type: ignore[union-attr]
    node.replace_all_uses_with(made)  # type: ignore[arg-type]
    graph.erase_node(node)


def followed_copies(graph: fx.Graph) -> int:
    """Where a buffer was overwritten by a statistic, let what is read of it afterwards be that statistic.

    The buffer is still overwritten, and the numbers are the same. Changes the graph in place, and says how many copies
    there were.
    """
    copies = [node for node in graph.nodes if node.target == "copy_" and _whole(node)]
    for node in copies:
        for user in [user for user in node.users if user.op != "output"]:
            if user.target is written:
                user.replace_all_uses_with(node.args[1])
            else:
                user.replace_input_with(node, node.args[1])
    return len(copies)


def _whole(node: fx.Node) -> bool:
    target, value = node.args[:2]
    if not isinstance(target, fx.Node) or not isinstance(value, fx.Node):
        return False
    same = all(target.meta.get(key) == value.meta.get(key) for key in ("shape", "dtype"))
    return same and _is_state(target)


def _is_state(node: fx.Node) -> bool:
    while node.target is getattr or node.target == "detach":
        node = node.args[0]  # type: ignore[assignment]
    return node.op == "get_attr" and node.meta.get("kind") == "buffer"
