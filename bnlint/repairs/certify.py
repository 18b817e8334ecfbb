"""The measured proof that goes with a repair."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from bnlint.errors import RepairError
from bnlint.model.lift import Lifted
from bnlint.model.lower import floating
from bnlint.model.memory import tensors_in
from bnlint.model.probe import THRESHOLD, Probe, compare, dot
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy, preserved, random_state
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.samples import Samples, first_of

#: largest relative difference between two float64 computations of the same thing
TIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Proof:
    """The measurements of one candidate."""

    device: str
    shapes: tuple[tuple[int, ...], ...]
    output_error: float
    eval_error: float
    buffer_error: float
    gradient_error: float
    gradient_error_before: float
    mean_identity: float
    numeric_error: float | None = None

    def failure(self, *, adopted: bool) -> str | None:
        """Say why the candidate is no repair, None if it is; `adopted` conventions may change outputs."""
        same = {
            "its outputs in training mode differ": self.output_error,
            "its outputs in eval mode differ": self.eval_error,
            "it updates its buffers differently": self.buffer_error,
        }
        checks = {} if adopted else same
        checks |= {
            "its gradient differs from the float64 reference": self.gradient_error,
            "its gradient does not flow through the mean": self.mean_identity,
        }
        if self.numeric_error is not None and not self.numeric_error < THRESHOLD:
            return "its gradient differs from finite differences"
        return next((reason for reason, error in checks.items() if not error <= TIGHT), None)  # NaN fails too


def prove(before: nn.Module, after: nn.Module, samples: Samples, *, adopted: bool) -> Proof:
    """Compare a candidate with the layer it stands for, at several batch and spatial sizes, in training and eval mode.

    Both are compared in the same disturbed state, for an untrained layer would show too little of what it computes;
    outputs that move are measured in the layer's own state.

    Args:
        before: The layer as it is.
        after: The candidate. Neither is changed.
        samples: What both are run on.
        adopted: Whether the candidate's outputs may differ; then its gradient is held against finite differences
            of the candidate itself.

    """
    if not adopted:
        before, after = disturbed(before), disturbed(after)
    rows: list[tuple[float, ...]] = []
    confirmed = False
    with Lifted():
        for index, call in enumerate(samples.calls):
            first = index == 0
            errors, confirmed = _gradients(before, after, call, adopted=adopted, trusted=None if first else confirmed)
            rows.append(
                _outputs(before, after, call, counts=samples.counts)
                + errors[:2]
                + (_identity(errors[3], samples.dims), errors[2])
            )
    device = str(_like(before).device)
    *worst, numeric = (_worst(column) for column in zip(*rows, strict=True))
    return replace(Proof(device, samples.shapes, *worst), numeric_error=None if confirmed else numeric)


def worst_of(proofs: Sequence[Proof]) -> Proof:
    """Return what several proofs of one repair say together: every shape, and the largest of each error."""
    shapes = tuple(dict.fromkeys(shape for proof in proofs for shape in proof.shapes))
    columns = {f.name: [getattr(p, f.name) for p in proofs] for f in fields(Proof)[2:]}
    known = {name: [error for error in column if error is not None] for name, column in columns.items()}
    worst: dict[str, Any] = {name: _worst(column) for name, column in known.items() if column}
    return replace(proofs[0], shapes=shapes, **worst)


def require_same_tensors(before: nn.Module, after: nn.Module) -> None:
    """See that a candidate holds the very parameters and buffers of the layer, in the same order.

    Raises:
        RepairError: It does not.
    """
    if _tensors(before) != _tensors(after):
        raise RepairError("its tensors would not stay the same objects in the same order")


def _outputs(before: nn.Module, after: nn.Module, call: Call, *, counts: bool) -> tuple[float, float, float]:
    """Compare outputs in training and in eval mode, and the buffers, over several steps; the counter if it `counts`.

    One step more shows a momentum that changes, a small batch shows an eps in another place, one step without
    gradients what depends on them. Evaluation gets other data
    than training, or updates that it makes would not show.
    """
    old, new = (detached_copy(layer).double() for layer in (before, after))
    x = first_of(call)
    generator = torch.Generator().manual_seed(11)
    values = [(torch.randn(x.shape, generator=generator, dtype=torch.float64) + 0.5).to(x.device) for _ in range(2)]
    names = [name for name, _ in old.named_buffers() if counts or name != "num_batches_tracked"]
    output_errors: list[float] = []
    eval_errors: list[float] = []
    buffer_errors = [0.0]
    for scale, grad in ((1.0, True), (2.0, True), (1e-4, True), (1.0, False)):
        for training, errors, value in ((True, output_errors, values[0]), (False, eval_errors, values[1])):
            with torch.set_grad_enabled(grad):
                ours, theirs = (_run(layer.train(training), _replaced(call, scale * value)) for layer in (new, old))
            errors.extend(_differences(ours, theirs))
            buffer_errors += _differences(_buffers(new, names), _buffers(old, names))
    return _worst(output_errors), _worst(eval_errors), _worst(buffer_errors)


def _run(layer: nn.Module, call: Call) -> list[Tensor]:
    """Run a layer; what is random in it is the same each time."""
    with random_state():
        return tensors_in(layer(*call[0], **call[1]))


def _buffers(layer: nn.Module, names: Iterable[str]) -> list[Tensor]:
    return [layer.get_buffer(name) for name in names]


def _replaced(call: Call, value: Tensor) -> Call:
    leaves, spec = tree_flatten(call)
    leaves[next(i for i, leaf in enumerate(leaves) if floating(leaf))] = value
    args, kwargs = tree_unflatten(leaves, spec)
    return args, kwargs


def _gradients(
    before: nn.Module, after: nn.Module, call: Call, *, adopted: bool, trusted: bool | None
) -> tuple[tuple[float, float, float, Tensor], bool]:
    """Compare the gradients of inputs and parameters, before and after; return the candidate's of the first input too.

    Where no reference is to be trusted, finite differences of the candidate stand in: the third is what they say.

    Whether the reference may be trusted is asked of finite differences first, unless that is known.
    """
    had = Probe(before, call, shrink=False)
    probe = Probe(after, call, shrink=False) if adopted else had
    candidate = probe.module if adopted else detached_copy(after).train()
    gradient = probe.gradient(candidate)
    reference = probe.truth() if trusted is None else probe.reference() if trusted else None
    if reference is None:
        # Nothing to compare with but the function itself: finite differences of the candidate.
        error, numeric = 0.0, probe.disagreement(gradient)
        error_before = probe.disagreement(probe.gradient(probe.module))
    else:
        error, numeric = compare(gradient, reference)[0], 0.0
        own = had.reference()
        error_before = compare(had.gradient(had.module), reference if own is None else own)[0]
    if not adopted:  # no stop of a statistic touches the gradients of weight, bias and other inputs
        error = _worst([error, *_differences(*(_other_gradients(probe, m) for m in (probe.module, candidate)))])
    return (error, error_before, numeric, gradient), reference is not None


def _identity(gradient: Tensor, dims: tuple[int, ...] | None) -> float:
    """Return what is left of the gradient's sum: a normalization does not see what is added to all its values."""
    if dims is None:
        return 0.0
    return float(gradient.sum(dims).norm()) / (float(gradient.norm()) * math.sqrt(gradient.numel()) + 1e-300)


def _other_gradients(probe: Probe, module: nn.Module) -> list[Tensor]:
    """Return the gradients of the parameters, by name, and of the inputs but the first."""
    leaves, spec = tree_flatten((probe.args, probe.kwargs))
    first, *rest = [i for i, leaf in enumerate(leaves) if floating(leaf)]
    for index in rest:
        leaves[index] = leaves[index].detach().clone().requires_grad_()
    sources = [p for _, p in sorted(module.named_parameters(), key=lambda pair: pair[0]) if p.requires_grad]
    sources += [leaves[index] for index in rest]
    if not sources:
        return []
    leaves[first] = probe.x.clone().requires_grad_()
    with preserved(module), torch.enable_grad():
        outputs = [output for output in _run(module, tree_unflatten(leaves, spec)) if floating(output)]
        found = torch.autograd.grad(dot(outputs, probe.cotangents), sources, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(sources, found, strict=True)]


def _like(layer: nn.Module) -> Tensor:
    return next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), torch.empty(0))


def _tensors(layer: nn.Module) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """Identify parameters, in their order, and buffers."""
    parameters = [(name, id(parameter)) for name, parameter in layer.named_parameters()]
    return parameters, {name: id(buffer) for name, buffer in layer.named_buffers()}


def _worst(errors: Iterable[float]) -> float:
    """Return the largest error, NaN if there is one."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def _differences(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[float]:
    if len(ours) != len(theirs):
        return [math.inf]
    return [0.0, *(_difference(one, other) for one, other in zip(ours, theirs, strict=True))]


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    ours, theirs = ours.detach().double(), theirs.detach().double()
    scale = max(float(ours.norm()), float(theirs.norm()), 1e-300)
    distance = float((ours - theirs).norm())
    return 0.0 if distance == 0.0 else distance / scale
