"""What stops a statistic beside stops, in a recorded graph: numbers, buffers, sums over processes made in place."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import fx

from bnlint.errors import RepairError
from bnlint.flow.sites import Statistic
from bnlint.model.calls import name_of
from bnlint.model.lower import Lowered
from bnlint.model.replay import written
from bnlint.operations import all_reduced, expect, world_size

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


def exchanged(graph: fx.Graph, attributes: Mapping[str, Any]) -> tuple[int, Any]:
    """Put a differentiable sum over processes where one was made in place.

    Args:
        graph: A recorded graph; it is changed in place.
        attributes: The objects that its `get_attr` nodes name.

    Returns:
        How many there were, and the group of processes that they were made in, None for all.

    Raises:
        RepairError: What is exchanged, or how, has no differentiable form.
    """
    sums = [node for node in graph.nodes if node.op == "call_function" and name_of(node) == "all_reduce"]
    groups: dict[int, Any] = {}
    for node in sums:
        given = dict(zip(("tensor", "op", "group", "async_op"), node.args, strict=False)) | node.kwargs
        operation = attributes.get(str(getattr(given.get("op"), "target", "")))
        averages = operation == dist.ReduceOp.AVG
        if operation not in (None, dist.ReduceOp.SUM, dist.ReduceOp.AVG) or given.get("async_op"):
            raise RepairError("it exchanges its statistics by another operation, or in the background")
        source, own = given["tensor"], _own_group(given.get("group"), attributes, groups)
        with graph.inserting_before(node):
            made = graph.call_function(all_reduced, (source, averages, *own))
        made.meta = {key: value for key, value in source.meta.items() if key not in ("kind", "name")}
        made.meta |= {"grad": node.meta["grad"], "inference": node.meta["inference"]}
        for user in list(node.users):
            if user.target is not written or user.args[0] is not source:
                raise RepairError("it exchanges its statistics through a view of them")
            user.replace_all_uses_with(made)
            graph.erase_node(user)
        graph.erase_node(node)
    for node in [node for node in graph.nodes if node.target is world_size] if sums else ():
        node.args = _own_group(next(iter(node.args), None), attributes, groups)
    if len(groups) > 1:
        raise RepairError("it exchanges its statistics in more than one group of processes")
    return len(sums), next(iter(groups.values()), None)


def _own_group(node: Any, attributes: Mapping[str, Any], groups: dict[int, Any]) -> tuple[fx.Node, ...]:
    """Return what names a group of processes in the arguments of a node: nothing for all; also note the group."""
    group = attributes[str(node.target)] if isinstance(node, fx.Node) else None
    group = None if group is dist.group.WORLD else group
    groups[id(group)] = group
    if group is None:
        return ()
    node.meta["group"] = True
    return (node,)


def hold_to_processes(graph: fx.Graph, group: Any) -> None:
    """Hold a graph that exchanges statistics, and asks for no number of processes, to the number that there is now.

    It may be written in the code. Changes the graph in place.
    """
    sums = [node for node in graph.nodes if node.target is all_reduced]
    if sums and not any(node.target is world_size for node in graph.nodes):
        with graph.inserting_before(sums[0]):
            size = graph.call_function(world_size, sums[0].args[2:])
            same = graph.call_function(operator.eq, (size, world_size(group)))
            held = graph.call_function(expect, (same, True))
        for node in (size, same, held):
            node.meta = sums[0].meta | {"live": False}


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
