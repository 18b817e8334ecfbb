"""Which parts of a model normalize: layers of their own, and operations written inside of others."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, fx, nn
from torch.jit import ScriptModule

from bnlint.errors import AssumptionWarning, BnlintError, CaptureWarning
from bnlint.finding import Harm, SourceLocation
from bnlint.flow.purposes import Purpose
from bnlint.flow.sites import Site
from bnlint.model.assumed import assumed, described
from bnlint.model.callers import of_user, require_module
from bnlint.model.capture import Capture, capture
from bnlint.model.harm import Compared, Watched, harms, together
from bnlint.model.lower import Lowered, location_of, lower
from bnlint.model.measure import Measured
from bnlint.model.region import Region, cut_out, is_activation
from bnlint.model.shapes import Call, candidates, channels
from bnlint.model.sites import owner, sites_of
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
        harm: What its stops do to the gradient of the recorded step, where that can be told.
        around: The layer that the operations are written in, and the arguments of its call; None where `module` is it.
    """

    path: str
    module: nn.Module
    call: Call | None
    class_name: str
    purposes: Mapping[Key, Purpose] = field(default_factory=dict)
    harm: Harm | None = None
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
    require_module(model)
    given = bool(args or kwargs)
    step, told = (_step(model, args, kwargs), "") if given else _on_assumed(model)
    if step is None:
        _warn("no input was given, and none fits: layers were measured alone, and other normalizations not seen")
        return layers_alone(model)
    captured, inline = step.captured, "normalizations that are no layers of their own may be missed"
    if captured.unfaithful is not None:
        _warn(f"the recorded step is not faithful ({captured.unfaithful}): {inline}")
    elif not captured.live:
        _warn(f"no output of the model carries a gradient in training: {inline}")
    found = list(_found(model, step))
    if not given and (found or not natives(model)):  # where torch wrote all layers, the input does not matter
        what = f"no input was given; the model was run on assumed inputs: {told}"
        warnings.warn(what, AssumptionWarning, stacklevel=of_user())
    return found


def layers_alone(model: nn.Module) -> list[Layer]:
    """Find the custom normalization layers of a model that is not run, each to be measured on its own."""
    return [_layer(path, m, None) for path, m in model.named_modules() if is_custom_norm(m) or _normalizes(m)]


def _normalizes(module: nn.Module) -> bool:
    """Whether a layer that has no name for it normalizes, as a step of its own shows."""
    if type(module).__module__.startswith("torch.nn.") or next(module.children(), None) is not None:
        return False
    for args, kwargs in candidates(module, None):
        try:
            lowered = lower(capture(module, args, kwargs).graph_module, module)
            return any(is_activation(lowered, site) for site in sites_of(lowered))
        except BnlintError:
            continue
    return False


@dataclass(frozen=True, slots=True)
class _Step:
    """A recorded step, the normalizations in it, and by their `id` what their stops do to its gradient."""

    captured: Capture
    lowered: Lowered
    sites: list[Site]
    harm: Mapping[int, Compared]


def _step(model: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> _Step:
    replays: list[Watched] = []

    def replaying(graph_module: fx.GraphModule) -> Watched:
        replays.append(Watched(graph_module))
        return replays[0]

    captured = capture(model, args, kwargs, replaying)
    return _Step(captured, replays[0].lowered, replays[0].sites, harms(model, captured, replays[0]))


def _on_assumed(model: nn.Module) -> tuple[_Step | None, str]:
    """Run a model on inputs that it may take; return also what they were."""
    for given in assumed(model):
        try:
            with without_hooks(model):
                return _step(model, given), described(given)
        except BnlintError:
            continue
    return None, ""


def _warn(message: str) -> None:
    warnings.warn(message, CaptureWarning, stacklevel=of_user())


def is_custom_norm(module: nn.Module) -> bool:
    """Whether a module is a normalization layer that torch did not write: one without children, by class or name."""
    if type(module).__module__.startswith("torch.nn.") or next(module.children(), None) is not None:
        return False
    named = "norm" in class_name(module).lower() or hasattr(module, "running_mean")
    return isinstance(module, _NORMS) or (named and channels(module) is not None)


def is_native(module: nn.Module) -> bool:
    """Whether a module is a normalization layer that torch itself wrote: right by definition, and not measured."""
    return type(module).__module__.startswith("torch.nn.") and isinstance(module, _NORMS)


def natives(model: nn.Module) -> int:
    """Count the normalization layers of a model that torch itself wrote."""
    return sum(map(is_native, model.modules()))


def class_name(module: nn.Module) -> str:
    """Return the name of a module's class, of TorchScript that of the class it was made of."""
    return str(module.original_name) if isinstance(module, ScriptModule) else type(module).__name__


def _layer(path: str, module: nn.Module, call: Call | None, compared: Sequence[Compared] = ()) -> Layer:
    return Layer(path, module, call, class_name(module), harm=together(compared).harm if compared else None)


def _found(model: nn.Module, step: _Step) -> Iterator[Layer]:
    """Yield what normalizes in a recorded step, in the order of the model's modules."""
    captured, lowered, harm = step.captured, step.lowered, step.harm
    modules = dict(model.named_modules())
    inline: dict[str, list[Site]] = defaultdict(list)
    compared: dict[str, list[Compared]] = defaultdict(list)
    alone: set[str] = set()
    for site in step.sites:
        path = owner(lowered, site)
        compared[path] += [harm[id(site)]] if id(site) in harm else []
        known = path in captured.calls and path in modules and _stands_alone(modules[path])
        if known and is_activation(lowered, site):
            alone.add(path)
        else:
            inline[path].append(site)
    alone |= {path for path, module in modules.items() if is_custom_norm(module) and path in captured.calls}
    regions = _regions(model, captured, lowered, [site for of_path in inline.values() for site in of_path])
    for path in dict.fromkeys([*modules, *inline]):
        if path in alone:
            yield _layer(path, modules[path], captured.calls[path], compared[path])
        for site in inline.get(path, ()):
            name = _class_around(modules, path)
            if id(site) not in regions:
                if path in captured.calls and path in modules:
                    yield _layer(path, modules[path], captured.calls[path], compared[path])
                    break
                continue
            region, tensor = regions[id(site)]
            done = harm[id(site)].harm if id(site) in harm else None
            around = (modules[path], captured.calls[path]) if path in modules and path in captured.calls else None
            yield Layer(path, region, ((tensor,), {}), name, _purposes(lowered, site), done, around)


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
        warnings.warn(f"normalizations in no layer of their own: {error.what}", CaptureWarning, stacklevel=of_user())
        return {}


def _class_around(modules: Mapping[str, nn.Module], path: str) -> str:
    while path and path not in modules:
        path = path.rpartition(".")[0]
    return class_name(modules[path])


def _purposes(lowered: Lowered, site: Site) -> dict[Key, Purpose]:
    return {
        (s.name, location_of(lowered.nodes[s.reduction])): s.purpose for s in site.statistics if s.purpose is not None
    }
