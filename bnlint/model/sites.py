"""The normalizations of a recorded step, and the modules that they belong to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from bnlint.flow.sites import Site, Statistic, find_sites
from bnlint.model.lower import Lowered


def sites_of(lowered: Lowered) -> list[Site]:
    """Find the normalizations of a step; two layers that normalize the same tensor are two."""
    return [part for site in find_sites(lowered.graph) for part in _apart(lowered, site)]


def owner(lowered: Lowered, site: Site) -> str:
    """Return the path of the innermost module that both computes and applies a site's statistics."""
    return _owner(lowered, site.statistics)


def _apart(lowered: Lowered, site: Site) -> Iterator[Site]:
    """Divide the statistics among the modules that own them, where modules have one of the same name each."""
    groups: dict[str, list[Statistic]] = defaultdict(list)
    for statistic in site.statistics:
        groups[_owner(lowered, [statistic])].append(statistic)
    names = Counter(name for group in groups.values() for name in {statistic.name for statistic in group})
    within = any(_contains(outer, inner) for outer in groups for inner in groups)
    if within or max(names.values(), default=0) < 2:
        yield site
        return
    for group in groups.values():
        yield Site(site.input, tuple(group))


def _contains(outer: str, inner: str) -> bool:
    return outer != inner and (not outer or inner.startswith(f"{outer}."))


def _owner(lowered: Lowered, statistics: Sequence[Statistic]) -> str:
    paths = [
        (lowered.graph[index].origin.module or "").split(".")
        for statistic in statistics
        for index in (statistic.reduction, statistic.use)
    ]
    common: list[str] = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    return ".".join(common)
