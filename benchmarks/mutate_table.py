"""The tables of `mutate.py`: what was found, fixed and repaired, by kind of stop and by way of travelling."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
_HEADER = (
    "broken",
    "text finds",
    "model finds",
    "fix is right",
    "certified",
    "harmless",
    "text alarms",
    "model alarms",
)


def tables(records: Sequence[Record]) -> Iterator[str]:
    """Yield Markdown: the totals, the tables, what was wrong beyond misses, and the misses by place."""
    truths = Counter(record["truth"] for record in records)
    layers = {record["layer"] for record in records}
    yield f"{len(records)} mutants of {len(layers)} layers: {', '.join(f'{n} {truth}' for truth, n in truths.items())}."
    judged = [record for record in records if record["truth"] in {"broken", "harmless"}]
    kinds: Mapping[str, Callable[[Record], str]] = {
        "layer": lambda record: record["layer"].rpartition(".")[2],
        "kind of stop": lambda record: record["stop"],
        "way of travelling": lambda record: record["way"],
    }
    for title, key_of in kinds.items():
        yield from ("", f"| {title} | {' | '.join(_HEADER)} |", f"|---|{'---:|' * len(_HEADER)}")
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in judged:
            groups[key_of(record)].append(record)
        whole = [group for group in groups.values() if _whole(group)]
        for key, group in sorted(groups.items(), key=lambda item: item[0].lower()):
            if not _whole(group):
                yield _row(key, group)
        yield _row(f"{len(whole)} others, with no miss", [record for group in whole for record in group])
        yield _row("all", judged)
    yield from _wrong(records)
    yield from _misses(judged)


def _whole(group: Sequence[Record]) -> bool:
    """Whether both engines say of each mutant what is true."""
    wanted = {"broken": "found", "harmless": "silent"}
    return all(record[engine] == wanted[record["truth"]] for record in group for engine in ("static", "runtime"))


def _row(title: str, group: Sequence[Record]) -> str:
    broken = [record for record in group if record["truth"] == "broken"]
    harmless = [record for record in group if record["truth"] == "harmless"]

    def count(of: Sequence[Record], test: Callable[[Record], bool]) -> str:
        return str(sum(map(test, of)))

    cells = (
        str(len(broken)),
        count(broken, lambda r: r["static"] == "found"),
        count(broken, lambda r: r["runtime"] == "found"),
        count(broken, lambda r: r["fix"] == "right"),
        count(broken, lambda r: r["repair"] == "right"),
        str(len(harmless)),
        count(harmless, lambda r: r["static"] == "found"),
        count(harmless, lambda r: r["runtime"] == "found"),
    )
    return f"| {title} | {' | '.join(cells)} |"


def _wrong(records: Sequence[Record]) -> Iterator[str]:
    """Yield what must never be: fixes and certified repairs that are not right, and crashes."""
    yield from ("", "Wrong fixes, wrong repairs, crashes:", "")
    for record in records:
        for what in ("fix", "repair"):
            if record.get(what, "none") not in {"none", "right", "refused"}:
                yield f"- {what}, {record[what]}: {record['name']}"
        if record["truth"] == "crash":
            yield f"- {record['why']}: {record['name']}"


def _misses(judged: Sequence[Record]) -> Iterator[str]:
    """Yield the broken mutants that an engine does not report, by the statistic."""
    for engine, title in (("static", "as text"), ("runtime", "as a live layer")):
        places: dict[str, list[Record]] = defaultdict(list)
        for record in judged:
            if record["truth"] == "broken" and record[engine] != "found":
                places[record["name"].split(" · ")[0]].append(record)
        yield from ("", f"Missed {title}:", "")
        for place, missed in sorted(places.items()):
            noted = sum(record[engine] == "noted" for record in missed)
            cards = "; ".join(f"{record['stop']} · {record['way']}" for record in missed)
            yield f"- {place}: {len(missed)}{f', {noted} of them a note' if noted else ''} ({cards})"
