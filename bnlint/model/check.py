"""The runtime check: a live model in, findings out, each with a measured gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from bnlint.catalog import PLAIN, Fact, Rule, judge, severity
from bnlint.errors import BnlintError, CaptureWarning, InputError
from bnlint.finding import Finding, Mark, Measurement, ModuleLocation, SourceLocation
from bnlint.flow.judged import traits
from bnlint.flow.sites import Gradient, Statistic, find_sites
from bnlint.flow.traits import Kind, Trait
from bnlint.model.capture import capture
from bnlint.model.lower import location_of, lower
from bnlint.model.probe import Measured, measure, owner
from bnlint.model.shapes import Call, channels

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.LocalResponseNorm)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer to measure, and the arguments of one of its calls where the model was run."""

    path: str
    module: nn.Module
    call: Call | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A layer and what was measured of it; `problem` says why where nothing was."""

    layer: Layer
    measured: Measured | None
    problem: str | None = None


def check_model(model: nn.Module, *args: Any, **kwargs: Any) -> list[Finding]:
    """Measure whether gradients flow through the batch statistics of every normalization in a model.

    The model is run once in training mode on the given inputs, and recorded; each layer that normalizes is
    then measured on a small float64 copy. The model is left exactly as found. Without inputs every custom
    normalization layer whose parameters tell its shape is measured on its own.

    Args:
        model: The model, on any device.
        *args: Its inputs, as in `model(*args, **kwargs)`.
        **kwargs: Its keyword inputs.

    Returns:
        One finding per stopped statistic of each layer, in the order of the layers.

    Raises:
        InputError: The model cannot be run on these inputs.
    """
    return [f for checked in check_layers(find_layers(model, args, kwargs)) for f in findings_of(checked)]


def find_layers(model: nn.Module, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> list[Layer]:
    """Find the layers that normalize: by one recorded training step where inputs are given, and by class."""
    modules = dict(model.named_modules())
    calls: dict[str, Call | None] = {}
    if args or kwargs:
        captured = capture(model, args, kwargs)
        if captured.unfaithful is not None:
            what = f"the recorded step is not faithful ({captured.unfaithful}): normalizations that are no layers of "
            warnings.warn(f"{what}their own may be missed", CaptureWarning, stacklevel=3)
        lowered = lower(captured.graph_module)
        owners = {owner(lowered, site) for site in find_sites(lowered.graph)}
        calls = {path: captured.calls.get(path) for path in modules if path in owners}
        calls |= {p: captured.calls[p] for p, m in modules.items() if is_custom_norm(m) and p in captured.calls}
    else:
        calls = {path: None for path, module in modules.items() if is_custom_norm(module)}
    return [Layer(path, modules[path], calls[path]) for path in modules if path in calls]


def is_custom_norm(module: nn.Module) -> bool:
    """Whether a module is a normalization layer that torch did not write: one without children, by class or name."""
    if type(module).__module__.startswith("torch.nn.") or next(module.children(), None) is not None:
        return False
    named = "norm" in type(module).__name__.lower() or hasattr(module, "running_mean")
    return isinstance(module, _NORMS) or (named and channels(module) is not None)


def check_layers(layers: list[Layer], progress: Callable[[str], None] | None = None) -> Iterator[Checked]:
    """Measure layers one by one; one that cannot be measured says why and does not stop the others."""
    for layer in layers:
        if progress is not None:
            progress(layer.path)
        try:
            yield Checked(layer, measure(layer.module, layer.call))
        except BnlintError as error:
            yield Checked(layer, None, error.what)


def require_measured(checked: list[Checked]) -> None:
    """Fail when there were layers to measure and not one could be."""
    if checked and all(c.measured is None for c in checked):
        raise InputError(
            f"none of {len(checked)} normalization layers could be measured: {checked[0].problem}",
            where=checked[0].layer.path or type(checked[0].layer.module).__name__,
            hint="pass an input of the model: --input 8x3x32x32",
        )


def findings_of(checked: Checked) -> Iterator[Finding]:
    """Judge one measured layer (verdict table of the design, section 5)."""
    measured = checked.measured
    if measured is None:
        return
    where = ModuleLocation(checked.layer.path, type(checked.layer.module).__name__)
    shown = _shown(measured)
    yield from (_of_trait(rule, where, measured, trait) for rule, trait in shown if trait.purpose is None)
    if not measured.wrong:
        yield from _exchanged(measured, where)
    if not measured.wrong or any(trait.kind is Kind.RUNNING_IN_TRAINING for _, trait in shown):
        return
    statistics = [s for site in measured.sites for s in site.statistics]
    stopped = [s for s in statistics if measured.stopped(s)]
    flows = tuple((s.name, s not in stopped) for s in statistics)
    measurement = Measurement(measured.error, measured.cosine, flows, measured.exact)
    for statistic in stopped:
        graph = measured.lowered.graph
        stop = graph[statistic.stops[0]]
        before = stop.index < statistic.reduction
        fact = Fact(statistic.name, Gradient.STOPPED, stop.name, before, statistic.purpose)
        rule = judge(fact, "runtime")
        if rule is not None:
            location, marks = _stop_location(measured, statistic), _marks(measured, statistic)
            yield _finding(rule, fact, where, measurement, location=location, marks=marks)
    if not stopped:
        fact = Fact(None, Gradient.STOPPED)
        rule = judge(fact, "runtime")
        if rule is not None:
            yield _finding(rule, fact, where, measurement)


def _exchanged(measured: Measured, where: ModuleLocation) -> Iterator[Finding]:
    """Report what only structure can tell: one process does not see what others add to its statistics."""
    graph = measured.lowered.graph
    for statistic in (statistic for site in measured.sites for statistic in site.statistics):
        if statistic.gradient is Gradient.STOPPED and graph[statistic.stops[0]].name == "collective":
            fact = Fact(statistic.name, statistic.gradient, "collective", purpose=statistic.purpose)
            rule = judge(fact, "runtime")
            if rule is not None:
                location, marks = _stop_location(measured, statistic), _marks(measured, statistic)
                yield _finding(rule, fact, where, None, location=location, marks=marks)


def _shown(measured: Measured) -> list[tuple[Rule, Trait]]:
    """List the traits that the recorded step shows, each with its rule; one that can be measured must be."""
    found = [(judge(trait, "runtime"), trait) for trait in traits(measured.lowered.graph, measured.sites)]
    return [
        (rule, trait)
        for rule, trait in found
        if rule is not None and (trait.kind is not Kind.KEEPS_GRAPH or trait.subject in measured.kept)
    ]


def _of_trait(rule: Rule, where: ModuleLocation, measured: Measured, trait: Trait) -> Finding:
    places = ((role, text, _line(measured, index)) for role, text, index in trait.marks)
    gradient = Measurement(measured.error, measured.cosine, (), measured.exact) if measured.wrong else None
    return Finding(
        rule.code,
        rule.name,
        rule.severity,
        f"layer {where.module or '(the model itself)'}: {trait.message}",
        _line(measured, trait.node),
        symbol=where.class_name,
        module=where,
        statistic=trait.subject,
        marks=tuple(Mark(role, text, location) for role, text, location in places if location is not None),
        measurement=gradient,
    )


def _finding(
    rule: Rule,
    fact: Fact,
    where: ModuleLocation,
    measurement: Measurement | None,
    *,
    location: SourceLocation | None = None,
    marks: tuple[Mark, ...] = (),
) -> Finding:
    name = PLAIN.get(fact.statistic or "", fact.statistic)
    if measurement is None:
        told = f"the {name} is exchanged between processes in place; the error cannot be measured in one process"
    else:
        about = "" if measurement.exact else "about "
        told = f"{_what(fact, name)}; gradient error {about}{measurement.error:.2g}, cosine {measurement.cosine:.3f}"
    why = f" ({fact.purpose.reason})" if fact.purpose else ""
    return Finding(
        rule.code,
        rule.name,
        severity(rule, fact),
        f"layer {where.module or '(the model itself)'}: {told}{why}",
        location,
        symbol=where.class_name,
        module=where,
        statistic=fact.statistic,
        stop=fact.stop,
        marks=marks,
        measurement=measurement,
    )


def _what(fact: Fact, name: str | None) -> str:
    what = f"no gradient flows through the {name}" if name else "its gradient is wrong, stopped unseen"
    return f"{what} ({fact.stop})" if fact.stop else what


def _plain(statistic: Statistic) -> str:
    return PLAIN.get(statistic.name, statistic.name)


def _stop_location(measured: Measured, statistic: Statistic) -> SourceLocation | None:
    """Locate the first stop; of `x.mean().detach()` only what comes behind the statistic."""
    stop, reduction = (_line(measured, index) for index in (statistic.stops[0], statistic.reduction))
    if stop is None or reduction is None or stop == reduction:
        return stop
    starts = (stop.path, stop.line, stop.column) == (reduction.path, reduction.line, reduction.column)
    return replace(stop, line=reduction.end_line, column=reduction.end_column) if starts else stop


def _line(measured: Measured, index: int) -> SourceLocation | None:
    node = measured.lowered.nodes.get(index)
    return None if node is None else location_of(node)


def _marks(measured: Measured, statistic: Statistic) -> tuple[Mark, ...]:
    places = [
        ("statistic", f"the {_plain(statistic)} is computed here", _line(measured, statistic.reduction)),
        ("stop", "its gradient stops here", _stop_location(measured, statistic)),
        ("use", "and it normalizes its own input here", _line(measured, statistic.use)),
    ]
    return tuple(Mark(role, text, location) for role, text, location in places if location is not None)
