"""Captures one real train-mode step of a model as an executable graph, and checks that it is faithful."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from bnlint.errors import InputError
from bnlint.model.failures import explained
from bnlint.model.memory import tensors_in
from bnlint.model.opaque import plain_execution
from bnlint.model.recorder import record
from bnlint.model.replay import Recorded, Replay
from bnlint.model.state import copied, first_line, preserved

_plain = ContextVar("plain", default=False)
_TOLERANCE = {torch.float64: 1e-9, torch.complex128: 1e-9, torch.float16: 2e-2, torch.bfloat16: 5e-2}


@dataclass(frozen=True)
class Capture:
    """A recorded step.

    Attributes:
        graph_module: The graph; run it with `Replay`. Its nodes carry the meta of `recorder`.
        inputs: The tensors of the placeholders, in order; floating ones require a gradient.
        outputs: The tensors that the model returned, in order, detached.
        live: Whether any of them carries a gradient.
        calls: For each module path the arguments of its first call, tensors detached (see `shapes.shape_told`).
        unfaithful: None, or why a replay does not give the output or the gradient of the model.
    """

    graph_module: fx.GraphModule
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    live: bool
    calls: Mapping[str, tuple[tuple[Any, ...], dict[str, Any]]]
    unfaithful: str | None


@dataclass(frozen=True)
class _Step:
    """What a run gave: output tensors, and the gradient of each named leaf, or why the backward failed."""

    outputs: tuple[Tensor, ...]
    live: bool
    gradients: Mapping[str, Tensor | None]
    failure: str | None


@dataclass(frozen=True)
class _Inputs:
    """The arguments of one run: fresh `leaves`, and the copies of them in `args` and `kwargs`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    leaves: tuple[Tensor, ...]
    values: tuple[Tensor, ...]


def capture(
    model: nn.Module,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    replaying: Callable[[fx.GraphModule], Replay] = Replay,
) -> Capture:
    """Record one train-mode step of `model(*args, **kwargs)`; the model is left exactly as found.

    Floating inputs are made to require a gradient, or everything before the first parameter would count as
    stopped: a normalization of the raw input could not be told from one whose gradient is cut off. (Where the
    forward cannot take such inputs, it gets plain ones.) The model runs with the training flags that
    `model.train()` gives it. It is run twice, and the recorded graph once more, from the same random state; `replaying`
    makes what runs the graph, and may look at that run.

    Raises:
        InputError: The forward raises, its output is NaN, an input is empty, or an argument or the model's state cannot
            be copied.
    """
    named = dict(kwargs or {})
    empty = [tensor.shape for tensor in tensors_in((args, named)) if not tensor.numel()]
    if empty:
        raise InputError(f"an input of {tuple(empty[0])} holds nothing", hint="pass at least two samples")
    with plain_run():
        eager, live = _eager(model, args, named)
        if any(output.is_floating_point() and output.isnan().any() for output in eager.outputs):
            what = "the output is NaN in training mode on this input"
            raise InputError(what, where=type(model).__name__, hint="pass real data: --input batch.pt")
        inputs = _fresh(args, named, live)
        with preserved(model):
            train(model)
            recording = record(model, inputs.args, inputs.kwargs, inputs.values)
        graph_module = Recorded(recording.attributes, recording.graph)
        unfaithful = _unfaithful(model, replaying(graph_module), inputs.leaves, eager)
    return Capture(graph_module, inputs.leaves, eager.outputs, eager.live, recording.calls, unfaithful)


@contextmanager
def plain_run() -> Iterator[None]:
    """Prepare for runs with gradients, without compiling or warning."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.enable_grad(), plain_execution():
        warnings.simplefilter("ignore")
        token = _plain.set(True)
        try:
            yield
        finally:
            _plain.reset(token)


def is_plain_run() -> bool:
    """Whether a model runs for bnlint, and not for its user."""
    return _plain.get()


def train(model: nn.Module) -> None:
    """Put a model in training mode, in one thread."""
    with suppress(NotImplementedError):  # an exported program has no modes
        model.train()
    for module in model.modules():
        if isinstance(module, nn.DataParallel):
            module.device_ids = module.device_ids[:1]  # its replicas run in threads, where no mode sees them


def _fresh(args: tuple[Any, ...], kwargs: dict[str, Any], live: bool) -> _Inputs:
    leaves: list[Tensor] = []
    values: list[Tensor] = []

    def replace(tensor: Tensor) -> Tensor:
        leaf = tensor.detach().clone()
        leaves.append(leaf.requires_grad_(live and (leaf.is_floating_point() or leaf.is_complex())))
        values.append(leaf.clone())  # no leaf, so that the model may change it in place
        return values[-1]

    try:
        copies = copied((args, kwargs), replace, {}, every=True)
    except Exception as error:
        raise InputError(
            f"an input cannot be copied: {type(error).__name__}: {first_line(error)}",
            hint="pass tensors, and plain containers or dataclasses of tensors",
        ) from error
    return _Inputs(*copies, tuple(leaves), tuple(values))


def _eager(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[_Step, bool]:
    """Run the model without recording it; also say whether it took inputs that require a gradient."""
    for live in (True, False):
        inputs = _fresh(args, kwargs, live)
        with preserved(model):
            train(model)
            try:
                result = model(*inputs.args, **inputs.kwargs)
            except (Exception, SystemExit) as error:
                if live:
                    continue
                raise _forward_error(model, error, inputs, args, kwargs) from error
            return _step(tuple(tensors_in(result)), inputs.leaves, model), live
    raise AssertionError("unreachable")


def _runs_in_evaluation(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    inputs = _fresh(args, kwargs, live=False)
    with preserved(model):
        try:
            model.eval()
            model(*inputs.args, **inputs.kwargs)
        except (Exception, SystemExit):
            return False
    return True


def _step(
    outputs: tuple[Tensor, ...], inputs: tuple[Tensor, ...], model: nn.Module, replay: Replay | None = None
) -> _Step:
    named = [*((f"input {index}", leaf) for index, leaf in enumerate(inputs)), *model.named_parameters()]
    sources = {name: leaf for name, leaf in named if leaf.requires_grad}
    live = [output for output in outputs if output.requires_grad]
    gradients: dict[str, Tensor | None] = {}
    failure = None
    if live and sources:
        try:
            watched = replay.watched() if replay is not None else []
            asked: list[Any] = [*sources.values(), *watched]
            found = torch.autograd.grad(live, asked, cotangents(live), retain_graph=bool(watched), allow_unused=True)
            gradients = dict(zip(sources, found, strict=False))
            if replay is not None and watched:
                replay.arrived(found[len(sources) :])
        except RuntimeError as error:
            failure = f"the backward raises {type(error).__name__}: {first_line(error)}"
    return _Step(tuple(output.detach() for output in outputs), bool(live), gradients, failure)


def cotangents(outputs: Iterable[Tensor]) -> list[Tensor]:
    """Return the gradient that arrives at the outputs of a step from above: normal, for there is no loss."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(output.shape, generator=generator).to(output) for output in outputs]


def _unfaithful(model: nn.Module, replay: Replay, leaves: tuple[Tensor, ...], eager: _Step) -> str | None:
    if eager.failure is not None:
        return eager.failure
    with (
        preserved(model),
        preserved(replay.module, model.parameters()),
    ):  # the model too, for opaque calls run parts of it
        train(model)
        try:
            outputs = replay.run(*(leaf.clone() for leaf in leaves))
        except Exception as error:
            return f"the replay raises {type(error).__name__}: {first_line(error)}"
        replayed = _step(outputs, leaves, model, replay)
    if replayed.failure is not None:
        return f"in the replay {replayed.failure}"
    for index, (ours, theirs) in enumerate(zip(replayed.outputs, eager.outputs, strict=True)):
        if _differs(ours, theirs, 0.0):
            return f"output {index} differs between the replay and the model"
    floor = 1e-4 * max((float(g.norm()) for g in eager.gradients.values() if g is not None), default=0.0)
    for name, gradient in eager.gradients.items():
        if _differs(replayed.gradients.get(name), gradient, floor):
            return f"the gradient of {name} differs between the replay and the model"
    return None


def _differs(ours: Tensor | None, theirs: Tensor | None, floor: float) -> bool:
    """Compare by norm, relative to the larger of `theirs` and `floor`; None is a gradient of zero."""
    if ours is None or theirs is None:
        present = theirs if ours is None else ours
        return present is not None and float(present.norm()) > floor
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return True
    if not (theirs.is_floating_point() or theirs.is_complex()):
        return not torch.equal(ours, theirs)
    distance = float((ours - theirs).nan_to_num().norm())
    return distance > _TOLERANCE.get(theirs.dtype, 1e-4) * max(float(theirs.nan_to_num().norm()), floor)


def _forward_error(
    model: nn.Module, error: BaseException, inputs: _Inputs, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> InputError:
    """Name the innermost module that raised, the inputs that the model was given, and what to pass instead."""
    names = {id(module): name for name, module in model.named_modules()}
    where = ""
    traceback = error.__traceback__
    while traceback is not None:
        where = names.get(id(traceback.tb_frame.f_locals.get("self")), where)
        traceback = traceback.tb_next
    given = ", ".join(f"{'x'.join(map(str, t.shape))} {str(t.dtype).removeprefix('torch.')}" for t in inputs.leaves)
    what = f"the forward raises {type(error).__name__}: {first_line(error)}"
    hint = explained(error)
    if hint is None and _runs_in_evaluation(model, args, kwargs):
        what = f"runs in evaluation mode only; in training mode {what}"
        hint = "gradients are measured as in training: pass the model that is trained"
    hint = hint or "pass inputs of the shape and dtype that the model takes, such as --input 8x3x32x32"
    return InputError(what, where=where or type(model).__name__, hint=f"tensors given: {given or 'none'}; {hint}")
