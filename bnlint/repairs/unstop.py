"""The second rung: the layer as it is written, without the stops that are on the way of its statistics."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from bnlint.errors import RepairError
from bnlint.flow.sites import Statistic, find_sites
from bnlint.flow.traits import Gradient
from bnlint.layers import WITHOUT_GRADIENTS, UnstoppedNorm
from bnlint.model.calls import name_of
from bnlint.model.capture import plain_run
from bnlint.model.lower import Lowered, lower
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy, preserved
from bnlint.model.truth import removable, unstopped
from bnlint.operations import expect, world_size
from bnlint.repairs.opened import exchanged, followed_copies, hold_to_processes, without_numbers
from bnlint.repairs.precision import follow_precision
from bnlint.repairs.program import PLAIN, Program, program_of
from bnlint.repairs.sized import SizedRecording, record_sized

#: sizes that a layer is told in place of true ones: even and odd ones beyond most thresholds, and a small one
_OTHER_SIZES: tuple[Callable[[int], int], ...] = (lambda size: 4096 * size, lambda size: 4096 * size + 1, lambda _: 2)
#: what branches of a layer may depend on
SIZE, PROCESSES = "size of its input", "number of processes"


def unstop(layer: nn.Module, call: Call, *, held: bool = True) -> UnstoppedNorm:
    """Rewrite a layer without the stops of its statistics; everything else it does, it goes on doing.

    The layer is recorded in training and in eval mode; it does not change.

    Args:
        layer: The layer.
        call: The arguments of a call that shows what it does.
        held: Whether the result runs with another number of processes only if the layer asks for that number.

    Raises:
        RepairError: What it does cannot be written down, or its stops cannot be told.
    """
    arguments = _arguments(layer, call)
    programs: dict[str, Any] = {}
    groups: dict[str, Any] = {}
    removed = 0
    for mode in ("train", "eval"):
        programs[mode], count, groups[mode] = _program(layer, call, mode, held=held)
        removed += count if mode == "train" else 0
        without = mode + WITHOUT_GRADIENTS
        if _differ(layer, call, mode, without):
            programs[without], _, groups[without] = _program(layer, call, without, held=held)
    if any(group not in (None, groups["train"]) for group in groups.values()):
        raise RepairError("it exchanges its statistics in more than one group of processes")
    if not removed:
        raise RepairError("no stop that can be taken out is seen on the way of its statistics")
    built = UnstoppedNorm()
    # What else a layer holds (functions, configurations) it had for its own code, which is gone.
    vars(built).update({n: v for n, v in vars(layer).items() if n in vars(built) or isinstance(v, (Tensor, *PLAIN))})
    built.stands_for, built.arguments, built.programs = type(layer).__name__, arguments, programs
    if groups["train"] is not None:
        built.process_group = groups["train"]
    return built


def depends_on(layer: nn.Module, call: Call, fixed: Collection[int]) -> list[str]:
    """Return on which numbers it depends what a layer does: on `SIZE` (the `fixed` dimensions aside), on `PROCESSES`.

    Whether an input has one value alone is no matter: torch's layers refuse those.
    """
    found: set[str] = set()
    for mode in ("train", "eval"):
        recording, *_ = _recorded(layer, call, mode, torch.float64)
        for node in recording.graph.nodes:
            if node.target is expect:
                found |= _compared(node.args[0], fixed)
        if _branches_on_numbers(layer, call, mode, recording):
            found.add(SIZE)
    return sorted(found)


def _branches_on_numbers(layer: nn.Module, call: Call, mode: str, recording: SizedRecording) -> bool:
    """Whether a layer does other things where it is told other sizes than its input has, as plain numbers.

    Where it cannot go on with such a size, it does not tell.
    """
    for tell in _OTHER_SIZES if recording.told else ():
        with suppress(Exception):
            other, *_ = _recorded(layer, call, mode, torch.float64, tell=tell)
            if _calls(other.graph) != _calls(recording.graph):
                return True
    return False


def _compared(comparison: fx.Node, fixed: Collection[int]) -> set[str]:
    """Return what a comparison of numbers is about."""
    todo, found, literals = [comparison], set[str](), list[int | float]()
    while todo:
        node = todo.pop()
        if node.target in ("size", "numel"):
            found |= {SIZE} if node.target == "numel" or node.args[1] not in fixed else set()
        elif node.target is world_size:
            found.add(PROCESSES)
        else:
            literals += [value for value in node.args if isinstance(value, (int, float))]
            todo += [arg for arg in node.all_input_nodes if "number" in arg.meta]
    of_one_value = any(isinstance(value, (int, float)) for value in comparison.args) and set(literals) <= {-1, 0, 1}
    return found - {SIZE} if of_one_value else found


def _differ(layer: nn.Module, call: Call, one: str, other: str) -> bool:
    """Whether a layer does something else in another mode, as under `no_grad`, which some take for evaluation."""
    graphs = [_recorded(layer, call, mode, torch.float32)[0].graph for mode in (one, other)]
    return _calls(graphs[0]) != _calls(graphs[1])


def _program(layer: nn.Module, call: Call, mode: str, *, held: bool) -> tuple[Program, int, Any]:
    """Write down what a layer does in a mode; say how many stops were taken out of it, and in which group it shares."""
    recording, removed, given = _recorded(layer, call, mode, torch.float32)
    _require_no_autocast(layer, call, mode, recording.graph)
    _require_same_in_half(layer, call, mode, recording.graph)
    double, *_ = _recorded(layer, call, mode, torch.float64)
    if _branches_on_numbers(layer, call, mode, double):
        raise RepairError(f"what it does depends on the {SIZE}")
    follow_precision(recording.graph, double.graph, _mixed(layer, call, mode))
    copies = followed_copies(recording.graph)
    sums, group = exchanged(recording.graph, recording.attributes)
    removed += copies + sums
    if held:
        hold_to_processes(recording.graph, group)
    ranks = [tensor.dim() for tensor in given]
    if mode.endswith(WITHOUT_GRADIENTS):
        return program_of(recording.graph, recording.result, ranks, given[0].device), removed, group
    module, lowered, statistics, opened = _stopped(fx.GraphModule(recording.attributes, recording.graph))
    if not removable(lowered, statistics):
        names = sorted({lowered.graph[stop].name for s in statistics for stop in s.stops})
        raise RepairError(f"the stop of its statistics cannot be taken out by itself ({', '.join(names)})")
    graph = unstopped(module, lowered, statistics).graph
    program = program_of(graph, recording.result, ranks, given[0].device)
    return program, removed + opened + len(statistics), group


def _stopped(module: fx.GraphModule) -> tuple[fx.GraphModule, Lowered, list[Statistic], int]:
    """Find the stopped statistics of a graph, and let those that became numbers stay tensors; also say how many did."""
    lowered, stopped = _statistics(module)
    opened = without_numbers(module, lowered, stopped)
    if opened:
        module = fx.GraphModule(module, module.graph)
        lowered, stopped = _statistics(module)
    return module, lowered, stopped, opened


def _statistics(module: fx.GraphModule) -> tuple[Lowered, list[Statistic]]:
    lowered = lower(module)
    found = [s for site in find_sites(lowered.graph) for s in site.statistics]
    return lowered, [s for s in found if s.gradient is Gradient.STOPPED and s.purpose is None]


def _mixed(layer: nn.Module, call: Call, mode: str) -> fx.Graph | None:
    """Record a layer on an input of another precision, as it gets one under autocast; None if it cannot take that."""
    try:
        return _recorded(layer, call, mode, torch.float64, own=torch.float32)[0].graph
    except (RuntimeError, TypeError):
        return None


def _require_same_in_half(layer: nn.Module, call: Call, mode: str, graph: fx.Graph) -> None:
    """See that a layer does the same in half precision, where it may be trained; a branch on a dtype is in no graph.

    Raises:
        RepairError: It does not.
    """
    for dtype, own in ((torch.bfloat16, None), (torch.float16, None), (torch.bfloat16, torch.float32)):
        with suppress(RuntimeError, TypeError):  # in half precision it does not run at all
            half = _recorded(layer, call, mode, dtype, own=own)[0].graph
            if _calls(half) != _calls(graph):
                raise RepairError("it does something else in another precision")


def _calls(graph: fx.Graph) -> list[str]:
    return [name_of(node) for node in graph.nodes if node.op.startswith("call")]


def _require_no_autocast(layer: nn.Module, call: Call, mode: str, plain: fx.Graph) -> None:
    """See that a layer leaves autocast to its caller: a block that turns it on or off is not in a graph.

    Raises:
        RepairError: It does not.
    """
    graphs = {False: plain}
    with suppress(RuntimeError, TypeError):  # under autocast it does not run at all
        graphs[True] = _recorded(layer, call, mode, torch.float32, cast=True)[0].graph
    for cast, graph in graphs.items():
        if any(node.meta.get("autocast", (cast,))[0] != cast for node in graph.nodes):
            raise RepairError("it turns autocast on or off in a part of it")


def _recorded(
    layer: nn.Module,
    call: Call,
    mode: str,
    dtype: torch.dtype,
    *,
    own: torch.dtype | None = None,
    cast: bool = False,
    tell: Callable[[int], int] = operator.pos,
) -> tuple[SizedRecording, int, list[Tensor]]:
    copy = detached_copy(layer).to(own or dtype)
    given: list[Tensor] = []

    def fresh(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()
        given.append(tensor)
        return tensor.clone().requires_grad_(tensor.is_floating_point()).clone()

    args, kwargs = tree_map_only(Tensor, fresh, call)
    with plain_run(), preserved(copy):
        copy.train(mode.startswith("train"))
        autocast = torch.autocast(given[0].device.type, torch.bfloat16, enabled=cast)
        with _unchanged(copy), autocast, torch.set_grad_enabled(not mode.endswith(WITHOUT_GRADIENTS)):
            return *record_sized(copy, args, kwargs, tell), given


@contextmanager
def _unchanged(layer: nn.Module) -> Iterator[None]:
    """See that a step changes nothing but tensors.

    Raises:
        RepairError: It changes a number or a list, which an unstopped layer would not do.
    """
    before = [(path, _values(module)) for path, module in layer.named_modules()]
    yield
    for (path, values), (_, module) in zip(before, layer.named_modules(), strict=True):
        after = _values(module)
        changed = [name for name in values | after if values.get(name, values) != after.get(name, after)]
        if changed:
            raise RepairError(f"it changes its attribute `{f'{path}.{changed[0]}'.lstrip('.')}` in each step")


def _values(module: nn.Module) -> dict[str, Any]:
    held = {name: value for name, value in vars(module).items() if name not in nn.Module().__dict__}
    plain = {name: value for name, value in held.items() if isinstance(value, PLAIN)}
    several = {n: tuple(map(id, v)) for n, v in held.items() if isinstance(v, (list, dict, set))}
    return plain | several | {n: "a tensor" for n, value in held.items() if isinstance(value, Tensor)}


def _arguments(layer: nn.Module, call: Call) -> list[tuple[str, list[Any] | None]]:
    """Say for each argument of the call its name, and its value if it is no tensor."""
    try:
        signature = inspect.signature(layer.forward)
        given = signature.bind(*call[0], **call[1])
    except (TypeError, ValueError):
        raise RepairError("its forward has no plain signature") from None
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    if kinds & {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        raise RepairError("its forward takes any number of arguments")
    given.apply_defaults()
    arguments: list[tuple[str, list[Any] | None]] = []
    for name, value in given.arguments.items():
        if not isinstance(value, (Tensor, *PLAIN)):
            raise RepairError(f"its argument `{name}` is neither a tensor nor a plain value")
        arguments.append((name, None if isinstance(value, Tensor) else [value]))
    return arguments
