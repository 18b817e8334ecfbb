"""FlowGraph: the small graph of operations into which both front ends lower."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, Flag

from bnlint.finding import SourceLocation


class Mode(Flag):
    """In which mode of the layer a node runs (`self.training`)."""

    TRAIN = 1
    EVAL = 2
    BOTH = TRAIN | EVAL


class Kind(Enum):
    """What a node is."""

    INPUT = "input"
    PARAMETER = "parameter"
    BUFFER = "buffer"
    CONSTANT = "constant"
    OP = "op"
    STOP = "stop"
    MERGE = "merge"
    STORE = "store"
    OUTPUT = "output"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a node comes from.

    `location` is the expression (static) or line (runtime); `region` is what makes a stop one when
    that is not the expression itself: the `with torch.no_grad():` line around it.
    """

    location: SourceLocation | None = None
    region: SourceLocation | None = None
    symbol: str | None = None
    module: str | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One operation.

    `name` is the canonical operation (`flow.ops`) of an OP, the kind of a STOP (`detach`, `no_grad` …), the
    attribute name of a PARAMETER or BUFFER, the literal's text of a CONSTANT. `live` is whether the
    value carries a gradient when that was measured, None when it is to be inferred.
    """

    index: int
    kind: Kind
    name: str
    args: tuple[int, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    origin: Origin = Origin()
    mode: Mode = Mode.BOTH
    live: bool | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The class whose method a graph is, as far as its text or object tells.

    Attributes:
        name: Its name.
        method: The method that the graph is.
        bases: The last names of its bases, and of theirs.
        parameters: The attributes that are parameters.
        buffers: The attributes that are buffers.
        state: Those of them that a layer has from the start, and keeps.
        unregistered: Those of these that only look so: plain tensors, in no state dict.
        defaults: The numbers that attributes are by default, where they are arguments of the constructor.
        private: The attributes that no other method touches, but to give them their first value.
    """

    name: str
    method: str
    bases: frozenset[str]
    parameters: frozenset[str]
    buffers: frozenset[str]
    state: frozenset[str] = frozenset()
    unregistered: frozenset[str] = frozenset()
    defaults: Mapping[str, float] = field(default_factory=dict)
    private: frozenset[str] = frozenset()


class FlowGraph:
    """An append-only list of nodes; the arguments of a node come before it.

    Attributes:
        owner: The class whose method it is, None for a plain function.
        kept: The attributes of the object that outlive the function (`self.mean = ...`), and the nodes they hold.
    """

    def __init__(self, owner: Owner | None = None) -> None:
        self.owner = owner
        self._nodes: list[Node] = []
        self.kept: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def __getitem__(self, index: int) -> Node:
        return self._nodes[index]

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def add(
        self,
        kind: Kind,
        name: str,
        args: Iterable[int] = (),
        *,
        attributes: Mapping[str, object] | None = None,
        origin: Origin | None = None,
        mode: Mode = Mode.BOTH,
        live: bool | None = None,
    ) -> int:
        """Append a node and return its index."""
        index = len(self._nodes)
        self._nodes.append(Node(index, kind, name, tuple(args), attributes or {}, origin or Origin(), mode, live))
        return index

    def inherited(self, owner: Owner | None, symbol: str) -> FlowGraph:
        """Return the graph of the same method in another class, in which it does the same."""
        graph = FlowGraph(owner)
        graph._nodes = [
            node if node.origin.symbol is None else replace(node, origin=replace(node.origin, symbol=symbol))
            for node in self._nodes
        ]
        graph.kept = dict(self.kept)
        return graph
