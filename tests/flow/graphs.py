"""Flow graphs written by hand, one short word per node."""

from __future__ import annotations

from bnlint.flow.graph import FlowGraph, Kind, Mode


class Graph:
    """Builds a flow graph; every method returns the index of the new node."""

    def __init__(self) -> None:
        self.flow = FlowGraph()

    def input(self, name: str = "x") -> int:
        return self.flow.add(Kind.INPUT, name)

    def parameter(self, name: str = "weight") -> int:
        return self.flow.add(Kind.PARAMETER, name)

    def buffer(self, name: str = "running_mean") -> int:
        return self.flow.add(Kind.BUFFER, name)

    def number(self, value: float) -> int:
        return self.flow.add(Kind.CONSTANT, repr(value), attributes={"value": value})

    def op(self, name: str, *args: int, mode: Mode = Mode.BOTH) -> int:
        return self.flow.add(Kind.OP, name, args, mode=mode)

    def stop(self, arg: int, kind: str = "detach") -> int:
        return self.flow.add(Kind.STOP, kind, [arg])

    def merge(self, *branches: tuple[int, Mode]) -> int:
        modes = tuple(mode for _, mode in branches)
        return self.flow.add(Kind.MERGE, "merge", [arg for arg, _ in branches], attributes={"modes": modes})

    def store(self, name: str, arg: int) -> int:
        return self.flow.add(Kind.STORE, name, [arg])

    def output(self, arg: int) -> int:
        return self.flow.add(Kind.OUTPUT, "output", [arg])
