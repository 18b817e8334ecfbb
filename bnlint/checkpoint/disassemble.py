"""Read a pickle without running it: what it would build, as inert nodes."""

from __future__ import annotations

import pickle
import pickletools
from dataclasses import dataclass, field
from typing import IO, Any

#: how deep values may lie in each other; Python itself follows some of them on the stack of the process
DEEPEST = 500
_MARK = object()
_TEXT = frozenset({"GLOBAL", "INST"})
_EMPTY = {"EMPTY_DICT": "dict", "EMPTY_LIST": "list", "EMPTY_TUPLE": "tuple", "EMPTY_SET": "set"}
_MARKED = {"DICT": "dict", "LIST": "list", "TUPLE": "tuple", "FROZENSET": "frozenset"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_NOTHING = frozenset({"PROTO", "FRAME", "STOP"})
#: what comes of bytes that are no program; MemoryError of a length that no memory has
_NO_PICKLE = (
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    StopIteration,
    MemoryError,
    pickle.UnpicklingError,
)


@dataclass(eq=False, slots=True)
class Node:
    """Something that a pickle would build.

    Attributes:
        kind: `dict`, `list`, `tuple`, `set`, `frozenset`, `global`, `call` or `persistent`.
        name: The dotted name of a global; a part that the program would compute is `?`.
        args: Items of a container (keys and values by turns in a dict), or callee and arguments of a call.
        depth: How many values lie in each other below it.
        items: What is put into the result of a call: keys and values by turns, or elements.
        state: What `__setstate__` would be given.
    """

    kind: str
    name: str = ""
    args: list[Any] = field(default_factory=list)
    items: list[Any] = field(default_factory=list)
    state: list[Any] = field(default_factory=list)
    depth: int = 1


@dataclass(frozen=True, slots=True)
class Program:
    """A disassembled pickle: what it would build, and every global that it names."""

    result: Any
    globals: tuple[str, ...]


def disassemble(file: IO[bytes]) -> Program:
    """Read one pickle from a file, up to its end.

    Raises:
        ValueError: It is no pickle, or is nested too deeply.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
    except _NO_PICKLE as error:
        raise ValueError(f"not a pickle: {type(error).__name__}") from error
    if not machine.stack:
        raise ValueError("not a pickle: it gives nothing")
    return Program(machine.stack[-1], tuple(dict.fromkeys(machine.globals)))


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.globals: list[str] = []

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name == "MARK":
            stack.append(_MARK)
        elif name in _EMPTY:
            stack.append(Node(_EMPTY[name]))
        elif name in _MARKED:
            self._push(_MARKED[name], self._marked())
        elif name in _TUPLES:
            self._push("tuple", self._popped(_TUPLES[name]))
        elif name in ("APPEND", "SETITEM"):
            self._extend(self._popped(1 + (name == "SETITEM")))
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS"):
            self._extend(self._marked())
        elif name in _PUTS or name == "MEMOIZE":
            self.memo[len(self.memo) if name == "MEMOIZE" else argument] = stack[-1]
        elif name in _GETS:
            stack.append(self.memo[argument])
        elif name in _TEXT:
            given = self._marked() if name == "INST" else []
            self._global(argument.replace(" ", "."))
            if name == "INST":
                self._push("call", [stack.pop(), *given])
        elif name == "STACK_GLOBAL":
            self._global(".".join(part if isinstance(part, str) else "?" for part in self._popped(2)))
        elif name in ("REDUCE", "NEWOBJ"):
            callee, given = self._popped(2)
            self._push(
                "call", [callee, *(given.args if isinstance(given, Node) and given.kind == "tuple" else [given])]
            )
        elif name == "NEWOBJ_EX":
            self._push("call", self._popped(3))
        elif name == "OBJ":
            self._push("call", self._marked())
        elif name == "BUILD":
            (state,) = self._popped(1)
            if isinstance(stack[-1], Node):
                stack[-1].state.append(state)
                self._sink(stack[-1], [state])
        elif name in ("PERSID", "BINPERSID"):
            self._push("persistent", [argument if name == "PERSID" else stack.pop()])
        elif name in ("EXT1", "EXT2", "EXT4"):
            self._global("?")
        elif name in ("POP", "POP_MARK"):
            self._marked() if name == "POP_MARK" else stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        elif name not in _NOTHING:
            stack.append(argument)

    def _global(self, name: str) -> None:
        self.globals.append(name)
        self.stack.append(Node("global", name))

    def _push(self, kind: str, args: list[Any]) -> None:
        node = Node(kind, args=args)
        self._sink(node, args)
        self.stack.append(node)

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        (target.items if target.kind == "call" else target.args).extend(items)
        self._sink(target, items)

    def _sink(self, node: Node, items: list[Any]) -> None:
        node.depth = max([node.depth, *(item.depth + 1 for item in items if isinstance(item, Node))])
        if node.depth > DEEPEST:
            raise ValueError("its values are nested too deeply")

    def _marked(self) -> list[Any]:
        at = next(i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _popped(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) < count or any(item is _MARK for item in items):
            raise IndexError
        del self.stack[-count:]
        return items
