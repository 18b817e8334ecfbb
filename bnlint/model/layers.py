"""Which parts of a model normalize: layers of their own, and operations written inside of others."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.jit import ScriptModule

from bnlint.errors import AssumptionWarning, BnlintError, CaptureWarning
from bnlint.finding import SourceLocation
from bnlint.flow.purposes import Purpose
from bnlint.flow.sites import Site, find_sites
from bnlint.model.assumed import assumed, described
from bnlint.model.capture import Capture, capture
from bnlint.model.lower import Lowered, location_of, lower
from bnlint.model.measure import Measured
from bnlint.model.probe import owner
from bnlint.model.region import Region, cut_out, is_activation
from bnlint.model.shapes import Call, channels
from bnlint.model.state import without_hooks

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)

#: a statistic of a layer: its name and where it is computed
Key = tuple[str, SourceLocation | None]


@dataclass(frozen=True, slots=True)
class Layer:
    """Something to measure.

    Attributes:
        path: The dotted path of the layer, or of the one that the operations are written in.
        module: The layer; a `Region` for operations that are none.
        call: The arguments of one of its calls where the model was run.
        class_name: The class that a user knows it by.
        purposes: Why stops in it are meant, as far as the operations around it tell.
        around: The layer that the operations are written in, and the arguments of its call; None where `module` is it.
    """

    path: str
    module: nn.Module
    call: Call | None
    class_name: str
    purposes: Mapping[Key, Purpose] = field(default_factory=dict)
    around: tuple[nn.Module, Call] | None = None

    @property
    def whole(self) -> bool:
        """Whether it is a layer, and not a part of one."""
        return not isinstance(self.module, Region)


@dataclass(frozen=True, slots=True)
class Checked:
    """A layer and what was measured of it; `problem` says why where nothing was."""

    layer: Layer
    measured: Measured | None
    problem: str | None = None


def find_layers(model: nn.Module, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> list[Layer]:
    """Find what normalizes: by one recorded training step, and by class where the model cannot be run.

    Without inputs they are assumed from what the layers take; that they were is said as a `CaptureWarning`.
    """
    captured = capture(model, args, kwargs) if args or kwargs else _on_assumed(model)
    if captured is None:
        return [_layer(path, m, None) for path, m in model.named_modules() if is_custom_norm(m)]
    inline = "normalizations that are no layers of their own may be missed"
    if captured.unfaithful is not None:
        _warn(f"the recorded step is not faithful ({captured.unfaithful}): {inline}")
    elif not captured.live:
        _warn(f"no output of the model carries a gradient in training: {inline}")
    return list(_found(model, captured))


def _on_assumed(model: nn.Module) -> Capture | None:
    for given in assumed(model):
        try:
            with without_hooks(model):
                captured = capture(model, given)
        except BnlintError:
            continue
        what = f"no input was given; the model was run on assumed inputs: {described(given)}"
        warnings.warn(what, AssumptionWarning, stacklevel=3)
        return captured
    _warn("no input was given, and none fits: layers were measured alone, and what is no layer of its own was not seen")
    return None


def _warn(message: str) -> None:
    warnings.warn(message, CaptureWarning, stacklevel=4)


def is_custom_norm(module: nn.Module) -> bool:
    """Whether a module is a normalization layer that torch did not write: one without children, by class or name."""
    if type(module).__module__.startswith("torch.nn.") or next(module.children(), None) is not None:
        return False
    named = "norm" in class_name(module).lower() or hasattr(module, "running_mean")
    return isinstance(module, _NORMS) or (named and channels(module) is not None)


def natives(model: nn.Module) -> int:
    """Count the normalization layers of a model that torch itself wrote: right by definition, and not measured."""
    own = (m for m in model.modules() if type(m).__module__.startswith("torch.nn."))
    return sum(isinstance(module, _NORMS) for module in own)


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class, of TorchScript that of the class it was made of."""
    return str(module.original_name) if isinstance(module, ScriptModule) else type(module).__name__


def _layer(path: str, module: nn.Module, call: Call | None) -> Layer:
    return Layer(path, module, call, class_name(module))


def _found(model: nn.Module, captured: Capture) -> Iterator[Layer]:
    """Yield what normalizes in a recorded step, in the order of the model's modules."""
    lowered = lower(captured.graph_module)
    modules = dict(model.named_modules())
    inline: dict[str, list[Site]] = defaultdict(list)
    alone: set[str] = set()
    for site in find_sites(lowered.graph):
        path = owner(lowered, site)
        known = path in captured.calls and path in modules and _stands_alone(modules[path])
        if known and is_activation(lowered, site):
            alone.add(path)
        else:
            inline[path].append(site)
    alone |= {path for path, module in modules.items() if is_custom_norm(module) and path in captured.calls}
    regions = _regions(model, captured, lowered, [site for sites in inline.values() for site in sites])
    for path in dict.fromkeys([*modules, *inline]):
        if path in alone:
            yield _layer(path, modules[path], captured.calls[path])
        for site in inline.get(path, ()):
            name = _class_around(modules, path)
            if id(site) not in regions:
                if path in captured.calls and path in modules:
                    yield _layer(path, modules[path], captured.calls[path])
                    break
                continue
            region, tensor = regions[id(site)]
            around = (modules[path], captured.calls[path]) if path in modules and path in captured.calls else None
            yield Layer(path, region, ((tensor,), {}), name, _purposes(lowered, site), around)


def _stands_alone(module: nn.Module) -> bool:
    """Whether a module that normalizes is a layer for that, and no block that does other things as well."""
    return next(module.children(), None) is None or "norm" in class_name(module).lower()


def _regions(
    model: nn.Module, captured: Capture, lowered: Lowered, sites: Sequence[Site]
) -> dict[int, tuple[Region, Tensor]]:
    """Cut sites out of a recorded step; none where it cannot be run again."""
    if not sites:
        return {}
    try:
        return {id(site): part for site, part in zip(sites, cut_out(model, captured, lowered, sites), strict=True)}
    except BnlintError as error:
        warnings.warn(f"normalizations in no layer of their own: {error.what}", CaptureWarning, stacklevel=2)
        return {}


def _class_around(modules: Mapping[str, nn.Module], path: str) -> str:
    while path and path not in modules:
        path = path.rpartition(".")[0]
    return class_name(modules[path])


def _purposes(lowered: Lowered, site: Site) -> dict[Key, Purpose]:
    return {
        (s.name, location_of(lowered.nodes[s.reduction])): s.purpose for s in site.statistics if s.purpose is not None
    }
