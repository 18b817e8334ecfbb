"""The measured proof that goes with a repair."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bnlint.errors import RepairError
from bnlint.model.lift import Lifted
from bnlint.model.probe import THRESHOLD, Probe, compare
from bnlint.model.shapes import Call
from bnlint.model.state import detached_copy, preserved
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.recognize import Recipe

#: largest relative difference between two float64 computations of the same thing
TIGHT = 1e-9
#: of a batch, a sequence or an image more than this shows nothing new
LARGEST = 8


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
        return next((reason for reason, error in checks.items() if not error <= TIGHT), None)  # NaN fails too


def prove(before: nn.Module, after: nn.Module, recipe: Recipe, *, adopted: bool) -> Proof:
    """Compare a candidate with the layer it stands for, at several batch and spatial sizes, in training and eval mode.

    Both are compared in the same disturbed state, for an untrained layer would show too little of what it computes;
    outputs that move are measured in the layer's own state.

    Args:
        before: The layer as it is.
        after: The candidate. Neither is changed.
        recipe: What `before` is made of.
        adopted: Whether the candidate's outputs may differ; then its gradient is held against finite differences
            of the candidate itself.

    Raises:
        RepairError: The candidate does not hold the very parameters and buffers of the layer.
    """
    if _tensors(before) != _tensors(after):
        raise RepairError("its tensors would not stay the same objects in the same order")
    shapes = _shapes(recipe)
    if not adopted:
        before, after = disturbed(before), disturbed(after)
    rows: list[tuple[float, ...]] = []
    with Lifted():
        for shape in shapes:
            confirm = shape == shapes[0]
            rows.append(
                _outputs(before, after, shape)
                + _gradients(before, after, recipe, shape, adopted=adopted, confirm=confirm)
            )
    device = str(_like(before).device)
    return Proof(device, shapes, *(_worst(column) for column in zip(*rows, strict=True)))


def _shapes(recipe: Recipe) -> tuple[tuple[int, ...], ...]:
    """Vary every dimension whose size a layer does not depend on."""

    def varied(change: Callable[[int, int], int]) -> tuple[int, ...]:
        return tuple(
            size if d in recipe.fixed else change(d, min(size, LARGEST)) for d, size in enumerate(recipe.shape)
        )

    # Of one value alone torch's layers take no statistics.
    return varied(lambda _, size: size), varied(lambda d, size: size + 3 + d), varied(lambda _, size: max(size // 2, 2))


def _outputs(before: nn.Module, after: nn.Module, shape: tuple[int, ...]) -> tuple[float, float, float]:
    """Compare outputs in training and in eval mode, and the running statistics, over several steps.

    One step more shows a momentum that changes, a small batch shows an eps in another place.
    """
    old, new = (detached_copy(layer).double() for layer in (before, after))
    generator = torch.Generator().manual_seed(11)
    x = (torch.randn(shape, generator=generator, dtype=torch.float64) + 0.5).to(_like(before).device)
    statistics = [name for name, _ in old.named_buffers() if name != "num_batches_tracked"]
    output_errors, eval_errors, buffer_errors = [], [], [0.0]
    with torch.no_grad():
        for scale in (1.0, 2.0, 1e-4):
            output_errors.append(_difference(old.train()(scale * x), new.train()(scale * x)))
            eval_errors.append(_difference(old.eval()(scale * x), new.eval()(scale * x)))
            buffer_errors += [_difference(getattr(old, name), getattr(new, name)) for name in statistics]
    return _worst(output_errors), _worst(eval_errors), _worst(buffer_errors)


def _gradients(
    before: nn.Module, after: nn.Module, recipe: Recipe, shape: tuple[int, ...], *, adopted: bool, confirm: bool
) -> tuple[float, float, float]:
    """Compare the gradients of input and parameters, before and after; also tell whether one flows through the mean.

    Where asked to, the reference is confirmed by finite differences first.
    """
    call: Call = ((torch.empty(shape, dtype=torch.float64, device=_like(before).device),), {})
    had = Probe(before, call, shrink=False)
    probe = Probe(after, call, shrink=False) if adopted else had
    candidate = probe.module if adopted else detached_copy(after).train()
    gradient, reference = probe.gradient(candidate), probe.truth() if confirm else probe.reference()
    if reference is None:
        # Nothing to compare with but the function itself: finite differences of the candidate.
        disagreement = probe.disagreement(gradient)
        error = 0.0 if disagreement < THRESHOLD else disagreement
        error_before = probe.disagreement(probe.gradient(probe.module))
    else:
        error = compare(gradient, reference)[0]
        own = had.reference()
        error_before = compare(had.gradient(had.module), reference if own is None else own)[0]
    if not adopted:  # no stop of a statistic touches the gradients of weight and bias
        pairs = zip(_parameter_gradients(probe, probe.module), _parameter_gradients(probe, candidate), strict=True)
        error = _worst([error, *(_difference(ours, theirs) for ours, theirs in pairs)])
    return error, error_before, _identity(gradient, recipe) if recipe.family.centers else 0.0


def _identity(gradient: Tensor, recipe: Recipe) -> float:
    """Return what is left of the gradient's sum: a normalization does not see what is added to all its values."""
    return float(gradient.sum(recipe.dims).norm()) / (float(gradient.norm()) * math.sqrt(gradient.numel()) + 1e-300)


def _parameter_gradients(probe: Probe, module: nn.Module) -> list[Tensor]:
    parameters = [p for _, p in sorted(module.named_parameters(), key=lambda pair: pair[0]) if p.requires_grad]
    if not parameters:
        return []
    with preserved(module), torch.enable_grad():
        outputs = probe.run(module, probe.x.clone().requires_grad_())
        value = torch.stack([(o * c).sum() for o, c in zip(outputs, probe.cotangents, strict=True)]).sum()
        found = torch.autograd.grad(value, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


def _like(layer: nn.Module) -> Tensor:
    return next((t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point()), torch.empty(0))


def _tensors(layer: nn.Module) -> tuple[list[tuple[str, int]], dict[str, int]]:
    """Identify parameters, in their order, and buffers."""
    parameters = [(name, id(parameter)) for name, parameter in layer.named_parameters()]
    return parameters, {name: id(buffer) for name, buffer in layer.named_buffers()}


def _worst(errors: Iterable[float]) -> float:
    """Return the largest error, NaN if there is one."""
    return max(errors, key=lambda error: math.inf if math.isnan(error) else error)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    scale = max(float(ours.double().norm()), float(theirs.double().norm()), 1e-300)
    distance = float((ours.double() - theirs.double()).norm())
    return 0.0 if distance == 0.0 else distance / scale
