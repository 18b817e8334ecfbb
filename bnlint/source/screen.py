"""Pass over what cannot hold a finding, before the slow parse: first by bytes, then by the names a function uses."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bnlint.source.outline import CONVERSIONS, STATISTICS, STOPPING, Outline, Unit


def _mentions(names: frozenset[str]) -> re.Pattern[bytes]:
    return re.compile(rb"\b(%s)\b" % b"|".join(re.escape(name.encode()) for name in sorted(names)))


_STATISTIC_BYTES, _STOP_BYTES = _mentions(STATISTICS), _mentions(STOPPING | CONVERSIONS)
#: running statistics: by their usual names, and by how a layer makes them
_STATE_BYTES = re.compile(rb"\b(running|moving|ema)_|register_buffer")
#: normalization layers: by their bases, and by their parameters
_LAYER_BYTES = re.compile(rb"(Norm|Norm[123]d)\b|\bParameter\b|register_parameter")


_INK = re.compile(r"[^\r\n]+")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a definition in another file reaches: a statistic, a stop, and the definitions that its flow needs.

    `name` is what it is called in the file that uses it.
    """

    statistic: bool = False
    stop: bool = False
    needed: frozenset[tuple[Path, str]] = frozenset()
    name: str = ""


@dataclass(frozen=True, slots=True)
class Screened:
    """What is left of a module.

    Attributes:
        wanted: The functions and methods to look at.
        stopped: Those of them that are looked at only because of a stop.
        needed: The definitions at the top level that their flow needs.
        lent: What other files lend to them.
        elsewhere: The definitions of other files that their flow needs.
    """

    wanted: tuple[Unit, ...] = ()
    stopped: frozenset[Unit] = frozenset()
    needed: frozenset[str] = frozenset()
    lent: tuple[Elsewhere, ...] = ()
    elsewhere: Mapping[Path, frozenset[str]] = field(default_factory=dict)


def may_hold_findings(source: bytes) -> bool:
    """Whether the bytes of a file mention a statistic, and a stop, running statistics or a normalization layer."""
    beside = (_STOP_BYTES, _STATE_BYTES, _LAYER_BYTES)
    return bool(_STATISTIC_BYTES.search(source) and any(pattern.search(source) for pattern in beside))


def screen(
    outline: Outline,
    imported: Callable[[Unit], Iterable[Elsewhere]] = lambda _: (),
    inherited: Iterable[Unit] = (),
) -> Screened:
    """Find the functions whose flow may join a statistic and a stop or running statistics, and normalization layers.

    A function counts with everything of the same file that it can reach by name, methods by the name alone, so that
    nothing is lost.

    Args:
        outline: The outline of the file.
        imported: What a unit reaches in other files by the names that it mentions.
        inherited: Methods that bases in other files lend to classes of this one.
    """
    inherited = tuple(inherited)
    units = [*outline.units, *inherited]
    elsewhere = {unit: tuple(imported(unit)) for unit in units}
    wanted, stopped = _wanted(units, outline, elsewhere)
    if not wanted:
        return Screened()
    reached = reach(wanted, outline)
    needed: dict[Path, set[str]] = defaultdict(set)
    lent = tuple(each for unit in reached for each in elsewhere.get(unit, ()))
    for path, top in (pair for each in lent for pair in each.needed):
        needed[path].add(top)
    return Screened(
        tuple(wanted),
        frozenset() if inherited else frozenset(stopped),
        frozenset(unit.top for unit in reached),
        lent,
        {path: frozenset(tops) for path, tops in needed.items()},
    )


def _wanted(
    units: list[Unit], outline: Outline, elsewhere: Mapping[Unit, Sequence[Elsewhere]]
) -> tuple[list[Unit], list[Unit]]:
    """Return the units that reach a statistic, and a stop of it or what other rules look at.

    The second are those of them that only a stop speaks for.
    """
    lent = {unit for unit in units if any(each.statistic for each in elsewhere[unit])}
    statistic = reaching([u for u in units if u.statistic or u in lent], units, outline)
    own = reaching([u for u in units if u.statistic], units, outline) if lent else statistic
    numbers = reaching([u for u in units if u.stop or u.converts], units, outline)
    # Numbers are made everywhere: of a statistic from another file only where that is called.
    stops = [u for u in units if u.stop or (u.converts and u in lent) or any(each.stop for each in elsewhere[u])]
    stop = reaching(stops, units, outline)
    state = reaching([u for u in units if u.state], units, outline)
    spread = reaching([u for u in units if u.spread], units, outline)
    others = {u for u in units if u in statistic and (u in state or (u.layer and u in spread))}
    stopped = [u for u in units if u in statistic and (u in stop or (u in own and u in numbers)) and u not in others]
    return [u for u in units if u in others or u in stopped], stopped


def reach(units: Iterable[Unit], outline: Outline) -> set[Unit]:
    """Return the units of a file that some of them can reach by name, themselves included."""
    reached, names = set(units), set[str]()
    todo = list(reached)
    while todo:
        for name in todo.pop().names:
            if name in names:
                continue
            names.add(name)
            for other in outline.defining.get(name, ()):
                if other not in reached:
                    reached.add(other)
                    todo.append(other)
    return reached


def reaching(targets: list[Unit], units: list[Unit], outline: Outline) -> set[Unit]:
    """Return the units that can reach one of the targets by name."""
    if not targets:
        return set()
    mentioning: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        for name in unit.names:
            if name in outline.defining:
                mentioning[name].append(unit)
    keys: dict[Unit, list[str]] = defaultdict(list)
    for name, meant in outline.defining.items():
        for unit in meant:
            keys[unit].append(name)
    reaching, names = set(targets), set[str]()
    todo = list(targets)
    while todo:
        for name in keys.get(todo.pop(), ()):
            if name not in names:
                names.add(name)
                for unit in mentioning[name]:
                    if unit not in reaching:
                        reaching.add(unit)
                        todo.append(unit)
    return reaching


def blanked(text: str, outline: Outline, needed: frozenset[str]) -> str:
    """Return the text without the top-level definitions that are not needed; lines keep their numbers."""
    pieces: list[str] = []
    done = 0
    for name, start, end in outline.spans:
        if name not in needed:
            pieces += [text[done:start], _INK.sub("", text[start:end])]
            done = end
    return "".join([*pieces, text[done:]])
