"""From the text of a module to one flow graph per function."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph, Kind, Origin, Owner
from bnlint.source import syntax
from bnlint.source.classes import NATIVE_BUFFERS
from bnlint.source.gradmode import grad_switch
from bnlint.source.inherited import Inherited
from bnlint.source.interpret import Interpreter
from bnlint.source.record import FlowLost
from bnlint.source.scope import scope_of
from bnlint.source.values import Class, Function, Instance, Scope, State, Tensor, Value

#: where the nodes of a module are that was not placed
NOWHERE = SourceLocation("", 1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class SyntaxTree:
    """A module as the flow is read from it.

    Attributes:
        path: What locations call its file.
        module: Its syntax.
        locate: Says where a node of it stands.
    """

    path: str
    module: syntax.Module
    locate: Callable[[syntax.Node], SourceLocation]


def unplaced(path: str, module: syntax.Module) -> SyntaxTree:
    """Return a module whose nodes all stand at the same place: to place them takes longer than to read them."""
    return SyntaxTree(path, module, lambda _: NOWHERE)


def alone(tree: SyntaxTree) -> Scope:
    """Return the scope of a module from which no other file is reached."""
    return scope_of(tree.module, tree.locate, lambda _: None, {})


@dataclass(frozen=True, slots=True)
class Lowered:
    """A function of a module: its dotted name and its flow graph, None where the flow was lost."""

    symbol: str
    graph: FlowGraph | None


def lower(
    tree: SyntaxTree,
    wanted: Collection[str] | None = None,
    scope: Callable[[SyntaxTree], Scope] = alone,
) -> Iterator[Lowered]:
    """Yield each function of a module with its flow graph.

    Args:
        tree: The module.
        wanted: Symbols of the functions and methods to look at (`center`, `Norm.forward`); None for all.
        scope: Makes the module's scope, from which other files may be reached.

    A function that is decorated to run without gradients yields nothing.
    """
    here = scope(tree)
    entries = list(_entries(tree.module, here, wanted))
    inherited = Inherited(function for _, function in entries)
    programs: dict[syntax.Node, int] = {}
    for symbol, function in entries:
        owner = _owner(symbol, function.owner)
        if (known := inherited.find(function, owner, symbol)) is not None:
            yield Lowered(symbol, *known)
            continue
        graph = FlowGraph(owner)
        interpreter = Interpreter(graph, here.homes.get(function.node, here), symbol, programs)
        if function.bound is not None:
            _declare(graph, tree, symbol, function.bound)
        try:
            if _inference_only(interpreter, function):
                continue
            interpreter.run(function)
            followed: FlowGraph | None = graph
        except (FlowLost, RecursionError):
            followed = None
        inherited.keep(function, followed, interpreter)
        yield Lowered(symbol, followed)


def _entries(module: syntax.Module, scope: Scope, wanted: Collection[str] | None) -> Iterator[tuple[str, Function]]:
    functions = {node.name.value: node for node in module.body if isinstance(node, syntax.FunctionDef)}
    for name, node in functions.items():
        if wanted is None or name in wanted:
            yield name, Function(node, {})
    owners = None if wanted is None else {symbol.partition(".")[0] for symbol in wanted}
    for statement in module.body:
        # To describe a class means to read all of it.
        if not isinstance(statement, syntax.ClassDef) or (owners is not None and statement.name.value not in owners):
            continue
        cls = scope.names.get(statement.name.value)
        if isinstance(cls, Class):
            own = {item.name.value for item in statement.body.body if isinstance(item, syntax.FunctionDef)}
            # An inherited method is another function where this class overrides what it calls.
            names = cls.methods if cls.base is not None and own else own
            # Of two classes with one name, the last is the one that the name means.
            for name in sorted(cls.methods.keys() & set(names) - {"__init__"}):
                if wanted is None or f"{cls.name}.{name}" in wanted:
                    yield f"{cls.name}.{name}", Function(cls.methods[name], {}, cls, Instance(cls))


def _owner(symbol: str, cls: Class | None) -> Owner | None:
    if cls is None:
        return None
    method, state = symbol.rpartition(".")[2], cls.declared
    return Owner(
        cls.name,
        method,
        cls.bases,
        cls.parameters,
        cls.buffers,
        state.registered | state.plain.keys() | (cls.buffers & NATIVE_BUFFERS),
        frozenset(state.plain),
        state.defaults,
        state.private(method),
    )


def _declare(graph: FlowGraph, tree: SyntaxTree, symbol: str, me: Instance) -> None:
    """Put the running statistics that are no buffers into the graph, each at the place where it starts."""
    for name, node in me.cls.declared.plain.items():
        where: SourceLocation | None = None
        with suppress(KeyError):  # it may start in another file
            where = tree.locate(node)
        origin = Origin(where, symbol=symbol)
        me.attributes[name] = Tensor(graph.add(Kind.BUFFER, name, origin=origin))


def _inference_only(interpreter: Interpreter, function: Function) -> bool:
    for decorator in () if isinstance(function.node, syntax.Lambda) else function.node.decorators:
        expression = decorator.decorator
        args: list[Value] = []
        if isinstance(expression, syntax.Call):
            args = [interpreter.evaluate(State({}), argument.value) for argument in expression.args]
            expression = expression.func
        if grad_switch(interpreter.evaluate(State({}), expression), args) is not None:
            return True
    return False
