"""What is said of a measured layer: the verdict table of the design, section 5."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bnlint.catalog import PLAIN, Fact, Rule, judge, severity
from bnlint.finding import Finding, Mark, Measurement, ModuleLocation, SourceLocation
from bnlint.flow.judged import traits
from bnlint.flow.sites import Statistic
from bnlint.flow.traits import Gradient, Kind, Trait
from bnlint.model.layers import Checked, Layer
from bnlint.model.lower import location_of
from bnlint.model.measure import Measured
from bnlint.model.suspects import Suspect, suspects


def findings_of(checked: Checked) -> Iterator[Finding]:
    """Judge one measured layer (verdict table of the design, section 5)."""
    measured = checked.measured
    if measured is None:
        return
    where = ModuleLocation(checked.layer.path, checked.layer.class_name)
    measured = _with_purposes(measured, checked.layer)
    shown = _shown(measured)
    yield from (_of_trait(rule, where, checked.layer, measured, trait) for rule, trait in shown)
    if not measured.wrong:
        yield from _exchanged(measured, where)
        yield from _meant(measured, checked.layer, where)
    if not measured.wrong or any(trait.kind is Kind.RUNNING_IN_TRAINING for _, trait in shown):
        return
    statistics = [s for site in measured.sites for s in site.statistics]
    stopped = [s for s in statistics if measured.stopped(s)]
    flows = tuple((s.name, s not in stopped) for s in statistics)
    measurement = measurement_of(measured, checked.layer, flows)
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
            yield _unseen(_finding(rule, fact, where, measurement), suspects(measured.lowered))


def measurement_of(measured: Measured, layer: Layer, flows: tuple[tuple[str, bool], ...] = ()) -> Measurement:
    """Return what was measured of a layer, for reports; the harm counts only where the true gradient is proved."""
    return Measurement(
        measured.error,
        measured.cosine,
        flows,
        measured.exact,
        measured.disagreement,
        measured.shape,
        layer.harm if measured.exact else None,
    )


def _unseen(finding: Finding, found: list[Suspect]) -> Finding:
    """Say what a gradient that is stopped unseen may be stopped by."""
    if not found:
        return finding
    marks = tuple(Mark("stop", f"perhaps {s.what}", s.location) for s in found if s.location is not None)
    told = f"{finding.message}; look at {found[0].what}"
    return replace(finding, message=told, location=found[0].location, marks=marks)


def _with_purposes(measured: Measured, layer: Layer) -> Measured:
    """Take in what the operations around a part of a model tell of its stops."""
    if layer.whole:
        return measured

    def informed(statistic: Statistic) -> Statistic:
        known = layer.purposes.get((statistic.name, _line(measured, statistic.reduction)))
        return replace(statistic, purpose=known)

    sites = tuple(replace(site, statistics=tuple(map(informed, site.statistics))) for site in measured.sites)
    return replace(measured, sites=sites)


def _meant(measured: Measured, layer: Layer, where: ModuleLocation) -> Iterator[Finding]:
    """Report stops that the literature has, and that change the gradient as it says."""
    for statistic in (statistic for site in measured.sites for statistic in site.statistics):
        if measured.deliberate and statistic.stops and statistic.purpose is not None:
            stop = measured.lowered.graph[statistic.stops[0]].name
            fact = Fact(statistic.name, statistic.gradient, stop, purpose=statistic.purpose)
            rule = judge(fact, "runtime")
            if rule is not None:
                measurement = measurement_of(measured, layer)
                location, marks = _stop_location(measured, statistic), _marks(measured, statistic)
                yield _finding(rule, fact, where, measurement, location=location, marks=marks)


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


def _of_trait(rule: Rule, where: ModuleLocation, layer: Layer, measured: Measured, trait: Trait) -> Finding:
    places = ((role, text, _line(measured, index)) for role, text, index in trait.marks)
    gradient = measurement_of(measured, layer) if measured.wrong else None
    return Finding(
        rule.code,
        rule.name,
        severity(rule, trait),
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
        if measurement.harm is not None:
            told += f"; in the training step {measurement.harm.error:.2g} and {measurement.harm.cosine:.3f}"
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
