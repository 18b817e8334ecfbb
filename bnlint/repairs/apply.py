"""Repair a live model in place, layer by layer, each with a certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from bnlint.certificate import Certificate
from bnlint.errors import BnlintError, RepairError
from bnlint.model.check import check_layers, require_measured
from bnlint.model.layers import Checked, Layer, find_layers
from bnlint.model.measure import Measured
from bnlint.model.state import first_line
from bnlint.repairs.certify import Proof, prove
from bnlint.repairs.conventions import Conventions, conventions_of
from bnlint.repairs.native import build
from bnlint.repairs.recognize import recognize

_PLAIN = (bool, int, float, str)


def repair(
    model: nn.Module, *inputs: Any, inplace: bool = True, adopt_torch_conventions: bool = False, **kwargs: Any
) -> list[Certificate]:
    """Rewrite every layer whose measured gradient is wrong into torch's own correct normalization.

    Each layer is rebuilt on torch's fused operator with its own parameter and buffer objects, and replaced only
    if a proof is found: same outputs in training and eval mode, same buffer updates, gradient equal to a float64
    reference. Module objects stay the same objects (their class changes), so hooks, optimizers and other
    references to them stay valid. Runs where the model is; on a GPU nothing goes through the host but scalars.

    Args:
        model: The model.
        *inputs: Its inputs; none to repair every custom layer whose parameters tell its shape.
        inplace: Whether to change the model; False only proves.
        adopt_torch_conventions: Whether to give up conventions that differ from torch's (an unbiased variance,
            batch statistics in eval mode), which changes outputs, for plain torch classes.
        **kwargs: Keyword inputs.

    Returns:
        One certificate per layer with a wrong gradient, refused ones included.
    """
    checked = list(check_layers(find_layers(model, inputs, kwargs)))
    require_measured(checked)
    return repair_checked(checked, inplace=inplace, adopt_torch_conventions=adopt_torch_conventions)


def repair_checked(
    checked: list[Checked],
    *,
    inplace: bool = True,
    adopt_torch_conventions: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[Certificate]:
    """Repair the layers that were measured to be wrong."""
    certificates: list[Certificate] = []
    for item in checked:
        if item.measured is not None and item.measured.wrong:
            if progress is not None:
                progress(item.layer.path)
            certificate, built = _repaired(item.layer, item.measured, adopt_torch_conventions)
            certificates.append(certificate)
            if inplace and built is not None:
                become(item.layer.module, built)
    return certificates


def become(layer: nn.Module, built: nn.Module) -> None:
    """Turn a module object into another one; whoever holds the object sees the change.

    Plain values that the user's layer carried (a width, a name) stay readable on it.
    """
    kept = {name: value for name, value in vars(layer).items() if isinstance(value, _PLAIN) and name not in vars(built)}
    vars(layer).clear()
    vars(layer).update(vars(built) | kept)
    layer.__class__ = type(built)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A layer that could stand for another one, and how it did."""

    layer: nn.Module
    proof: Proof
    failure: str | None
    kept: tuple[str, ...]
    adopted: tuple[str, ...]


def _repaired(layer: Layer, measured: Measured, adopt: bool) -> tuple[Certificate, nn.Module | None]:
    path, name = layer.path, layer.class_name
    try:
        if not layer.whole:
            what = f"it is written inside {name}, which holds other modules or does more than normalize"
            raise RepairError(f"{what}: correct the source, bnlint fix")
        found = _candidate(layer, measured, adopt)
    except BnlintError as error:
        return Certificate(path, name, name, "refused", False, error.what), None
    except Exception as error:  # on its own, the user's layer may fail in any way
        reason = f"it could not be run on its own: {type(error).__name__}: {first_line(error)}"
        return Certificate(path, name, name, "refused", False, reason), None
    certificate = Certificate(
        path,
        name,
        type(found.layer).__name__,
        "native" if found.failure is None else "refused",
        found.failure is None,
        found.failure or "",
        found.kept,
        found.adopted,
        **asdict(found.proof),
    )
    return certificate, found.layer if found.failure is None else None


def _candidate(layer: Layer, measured: Measured, adopt: bool) -> _Candidate:
    """Build what stands for a layer; torch's conventions are adopted only once the layer's own were proved."""
    module = layer.module
    if parametrize.is_parametrized(module):
        raise RepairError("its parameters are computed by a parametrization")
    recipe = recognize(module, measured, layer.call)
    found, momentum = conventions_of(module, recipe)
    kept = replace(found, no_count=False)
    built = build(module, recipe, kept, momentum)
    proof = prove(module, built, recipe, adopted=False)
    failure = proof.failure(adopted=False)
    if adopt and failure is None and kept != Conventions():
        kept = Conventions()
        built = build(module, recipe, kept, momentum)
        proof = prove(module, built, recipe, adopted=True)
        failure = proof.failure(adopted=True)
    return _Candidate(built, proof, failure, tuple(kept), tuple(name for name in found if name not in tuple(kept)))
