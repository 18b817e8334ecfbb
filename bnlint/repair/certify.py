"""The measured proof that goes with a repair."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlint.model.lift import Lifted
from bnlint.model.probe import THRESHOLD, Measured, Probe, compare
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy

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

    def failure(self, *, adopted: bool) -> str | None:
        """Say why the candidate is no repair, None if it is; `adopted` conventions may change outputs."""
        checks = {
            "its gradient differs from the float64 reference": self.gradient_error > TIGHT,
            "its gradient does not flow through the mean": self.mean_identity > TIGHT,
            "its outputs in training mode differ": self.output_error > TIGHT and not adopted,
            "its outputs in eval mode differ": self.eval_error > TIGHT and not adopted,
            "it updates its buffers differently": self.buffer_error > TIGHT and not adopted,
        }
        return next((reason for reason, failed in checks.items() if failed), None)


def prove(before: nn.Module, after: nn.Module, measured: Measured, *, adopted: bool) -> Proof:
    """Compare a candidate with the layer it stands for, at several batch and spatial sizes, in training and eval mode.

    Args:
        before: The layer as it is.
        after: The candidate. Neither is changed.
        measured: What was measured of `before`.
        adopted: Whether the candidate's outputs may differ; then its gradient is held against finite differences
            of the candidate itself.
    """
    shapes = _shapes(measured.shape)
    rows: list[tuple[float, float, float, float, float, float]] = []
    with Lifted():
        for shape in shapes:
            rows.append(_compared(before, after, shape, adopted=adopted))
    device = str(next((t.device for t in (*before.parameters(), *before.buffers())), torch.device("cpu")))
    return Proof(device, shapes, *(max(column) for column in zip(*rows, strict=True)))


def _shapes(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Vary the batch and every dimension behind the channels."""
    larger = (shape[0] + 3, shape[1], *(size + 2 + i for i, size in enumerate(shape[2:])))
    smaller = (max(shape[0] // 2, 2), shape[1], *(max(size // 2, 1) for size in shape[2:]))
    return (shape, larger, smaller)


def _compared(
    before: nn.Module, after: nn.Module, shape: tuple[int, ...], *, adopted: bool
) -> tuple[float, float, float, float, float, float]:
    like = next((t for t in (*before.parameters(), *before.buffers()) if t.is_floating_point()), torch.empty(0))
    call: Call = ((torch.empty(shape, dtype=torch.float64, device=like.device),), {})
    old, new = (detached_copy(module).double() for module in (before, after))
    probe = Probe(before if not adopted else after, call)
    reference = probe.truth()
    had = Probe(before, call) if adopted else probe
    gradient = probe.gradient(new.train())
    if reference is None:
        # Nothing to compare with but the function itself: finite differences of the candidate.
        error = probe.disagreement(gradient)
        gradient_error = 0.0 if error < THRESHOLD else error
        gradient_error_before = probe.disagreement(probe.gradient(probe.module))
    else:
        gradient_error = compare(gradient, reference)[0]
        own = had.truth()
        gradient_error_before = compare(had.gradient(had.module), reference if own is None else own)[0]
    with torch.no_grad():
        eval_error = _difference(old.eval()(probe.x), new.eval()(probe.x))
        output_error = _difference(old.train()(probe.x), new.train()(probe.x))
    statistics = [name for name, _ in old.named_buffers() if name != "num_batches_tracked"]
    buffer_error = max((_difference(getattr(old, name), getattr(new, name)) for name in statistics), default=0.0)
    axes = [d for d in range(gradient.dim()) if d != 1]
    identity = float(gradient.sum(axes).norm()) / (float(gradient.norm()) * gradient.numel() ** 0.5 + 1e-300)
    return output_error, eval_error, buffer_error, gradient_error, gradient_error_before, identity


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    scale = max(float(ours.double().norm()), float(theirs.double().norm()), 1e-300)
    distance = float((ours.double() - theirs.double()).norm())
    return 0.0 if distance == 0.0 else distance / scale
