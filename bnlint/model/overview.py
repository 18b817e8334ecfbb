"""The layers of a model in order, measured or not, for a report that shows them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from torch import nn

from bnlint.finding import ModuleLocation
from bnlint.model.layers import Checked, class_name, is_native
from bnlint.model.verdict import findings_of, measurement_of
from bnlint.overview import LayerOverview, ModelOverview


def overview(target: str, models: Sequence[tuple[str, nn.Module]], checked: Sequence[Checked]) -> ModelOverview:
    """List the normalizations of a target, those of torch among them.

    Args:
        target: What the user named.
        models: The models in it, each with the path at which it is.
        checked: What was measured of them.
    """
    modules = {_join(name, path): module for name, model in models for path, module in model.named_modules()}
    order = {path: index for index, path in enumerate(modules)}
    natives = (_native(path, module) for path, module in modules.items() if is_native(module))
    layers = sorted([*natives, *map(_measured, checked)], key=lambda layer: _place(order, layer.place.module))
    return ModelOverview(target, tuple(layers))


def _native(path: str, module: nn.Module) -> LayerOverview:
    return LayerOverview(ModuleLocation(path, class_name(module)), None)


def _measured(checked: Checked) -> LayerOverview:
    where = ModuleLocation(checked.layer.path, checked.layer.class_name)
    if checked.measured is None:
        return LayerOverview(where, None, checked.problem or "not measured")
    measurement = measurement_of(checked.measured, checked.layer)
    return LayerOverview(where, measurement, findings=tuple(findings_of(checked)))


def _place(order: Mapping[str, int], path: str) -> int:
    """Return the place of a path, or of the module that it is in: a part of a graph is no module."""
    return next((order[each] for each in _upwards(path) if each in order), -1)


def _upwards(path: str) -> Iterator[str]:
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def _join(name: str, path: str) -> str:
    return ".".join(part for part in (name, path) if part)
