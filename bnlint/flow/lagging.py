"""Where running statistics are used: in training, in evaluation without ever an update, nowhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

from bnlint.finding import Severity
from bnlint.flow.graph import Kind as NodeKind
from bnlint.flow.graph import Mode, Node
from bnlint.flow.purposes import RAW, Purpose
from bnlint.flow.state import NATIVE, RUNNING, Running
from bnlint.flow.traits import Kind, Trait

_MEANT = re.compile(r"moving|running|online|ema|renorm|stream|memor|lagg|population|frozen", re.IGNORECASE)
_BATCH_NORM = re.compile(r"batch_?norm", re.IGNORECASE)
LAGGED = Purpose(Severity.NOTE, "meant: the layer is named after it")


def traits(running: Running) -> Iterator[Trait]:
    """Yield what is to be said of where the running statistics of a layer are used."""
    if not running.entered or not running.module:
        return
    yield from _in_training(running)
    yield from _never_updated(running)
    yield from _never_read(running)


def _in_training(running: Running) -> Iterator[Trait]:
    updated: dict[str, tuple[Node, Node]] = {}
    for store in running.stores:
        statistic = running.batch_statistic(store)
        if statistic is not None and running.accumulates(store):
            updated[store.name] = store, statistic
    normalized = {
        source for site in running.sites for s in site.statistics for source in _sources(running, s.reduction)
    }
    for node, tensor, operand in running.normalizing(Mode.TRAIN) if updated else ():
        held = running.held(tensor, Mode.TRAIN)
        for name in sorted(running.buffers_alone(operand, Mode.TRAIN) & updated.keys()):
            store, statistic = updated[name]
            own = running.sources(statistic)
            if own & held and not own & normalized:
                purpose = _purpose(running, node, tensor)
                when = "just updated" if store.index < node.index else "as the steps before left it"
                why = f" ({purpose.reason})" if purpose else ""
                yield Trait(
                    Kind.RUNNING_IN_TRAINING,
                    name,
                    node.index,
                    f"{name}, {when}, normalizes this input in training, in place of the statistic of the batch: "
                    f"no gradient flows through it{why}",
                    (
                        ("statistic", "the statistic of the batch is computed here", statistic.index),
                        ("use", "and goes into the buffer alone", store.index),
                    ),
                    purpose=purpose,
                )


def _sources(running: Running, reduction: int) -> frozenset[int]:
    return running.sources(running.graph[reduction])


def _purpose(running: Running, node: Node, tensor: int) -> Purpose | None:
    """Say why it may be meant: raw data, unless it is batch normalization or parameters are around it; a name."""
    name = running.graph.owner.name if running.graph.owner is not None else ""
    layer = running.native or _BATCH_NORM.search(name) or running.learned(tensor) or running.affine(node.index)
    if not layer:
        return RAW
    return LAGGED if _MEANT.search(name) else None


def _never_updated(running: Running) -> Iterator[Trait]:
    owner = running.graph.owner
    if owner is None or not running.sites or not _bases_known(running):
        return
    written = {node.name for node in running.graph if node.kind is NodeKind.STORE}
    handed = {
        arg.name
        for node in running.graph
        if node.name == "call"
        for arg in (running.graph[index] for index in node.args)
        if arg.kind is NodeKind.BUFFER
    }
    inputs = {s for site in running.sites for stat in site.statistics for s in _sources(running, stat.reduction)}
    told: set[str] = set()
    for node, tensor, operand in running.normalizing(Mode.EVAL):
        for name in sorted(running.buffers_alone(operand, Mode.EVAL) & owner.private - written - handed - told):
            if RUNNING.match(name) and inputs & running.held(tensor, Mode.EVAL):
                told.add(name)
                yield Trait(
                    Kind.NEVER_UPDATED,
                    name,
                    node.index,
                    f"{name} normalizes in evaluation, and nothing in {owner.name} ever updates it",
                )


def _never_read(running: Running) -> Iterator[Trait]:
    owner = running.graph.owner
    if owner is None or not _bases_known(running):
        return
    uses = [s for site in running.sites for s in site.statistics if _in_evaluation(running, s.use, s.reduction)]
    told: set[str] = set()
    for store in running.stores if uses else ():
        name, statistic = store.name, running.batch_statistic(store)
        if name in told or not RUNNING.match(name) or name not in owner.private or _is_read(running, name):
            continue
        own = running.sources(statistic) if statistic is not None and running.accumulates(store) else frozenset()
        use = next((s for s in uses if own & _sources(running, s.reduction)), None)
        if use is not None:
            told.add(name)
            yield Trait(
                Kind.BATCH_IN_EVAL,
                name,
                store.index,
                f"{name} is updated and never read: evaluation normalizes by the statistics of its own batch",
                (("use", "here, in evaluation too", use.use),),
            )


def _in_evaluation(running: Running, use: int, reduction: int) -> bool:
    node = running.graph[use]
    return bool(node.mode & Mode.EVAL) and any(n.index == reduction for n in running.behind(use, Mode.EVAL))


def _is_read(running: Running, name: str) -> bool:
    """Whether anything but updates of the buffer itself is made of it."""
    graph = running.graph
    contents = {
        n.index for store in running.stores if store.name == name for n in running.behind(running.content(store))
    }
    own = {node.index for node in graph if node.kind is NodeKind.BUFFER and node.name == name}
    for node in graph:
        if not own.isdisjoint(node.args):
            if node.kind in {NodeKind.OP, NodeKind.STOP, NodeKind.MERGE} and node.name != "call":
                own.add(node.index)
            if node.index not in contents and not (node.kind is NodeKind.STORE and node.name == name):
                return True
    return False


def _bases_known(running: Running) -> bool:
    owner = running.graph.owner
    return owner is not None and all(base == "Module" or NATIVE.match(base) for base in owner.bases)
