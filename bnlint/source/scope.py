"""What stands at the top level of a file, made only when the flow asks for it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.source import syntax
from bnlint.source.classes import describe
from bnlint.source.interpret import Interpreter
from bnlint.source.names import module_names, starred
from bnlint.source.record import FlowLost
from bnlint.source.toplevel import MAX_TABLE
from bnlint.source.values import Function, Partial, Scope, State, Value
from bnlint.vocabulary import Meaning, Word


class _Names(Mapping[str, Value]):
    """Names whose values are made on first use; a name whose value needs itself is unknown.

    `stars` says what a name is that only a `from … import *` can bind.
    """

    def __init__(self, makers: Mapping[str, Callable[[], Value | None]], stars: Callable[[str], Value | None]) -> None:
        self._makers = makers
        self._stars = stars
        self._made: dict[str, Value | None] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._made:
            self._made[name] = None
            self._made[name] = self._makers[name]() if name in self._makers else self._stars(name)
        value = self._made[name]
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


def scope_of(
    module: syntax.Module,
    locate: Callable[[syntax.Node], SourceLocation],
    resolve: Callable[[str], Value | None],
    homes: dict[syntax.Node, Scope],
    *,
    methods: Mapping[str, Word] | None = None,
    defined: Callable[[str, str], Word | None] = lambda _, __: None,
) -> Scope:
    """Return the scope of a file.

    Args:
        module: Its syntax tree.
        locate: Says where a node of it stands.
        resolve: Says what its imports lead to.
        homes: Where the scopes of functions are kept; those of this file are added.
        methods: The methods that are declared names in it.
        defined: Says which declared name a definition of it is.
    """
    makers: dict[str, Callable[[], Value | None]] = {}
    stars = [path for statement in module.body if (path := starred(statement)) is not None]

    def from_stars(name: str) -> Value | None:
        paths = (f"{path}{name}" if path.endswith(".") else f"{path}.{name}" for path in reversed(stars))
        return next((value for path in paths if (value := resolve(path)) is not None), None)

    scope = Scope(_Names(makers, from_stars), locate, resolve, homes, methods or {}, defined)
    bound = module_names(module)
    makers |= {name: lambda value=value: value for name, value in bound.items()}  # type: ignore[misc]
    functions: dict[str, Callable[[], Value | None]] = {}
    for statement in module.body:
        match statement:
            case syntax.ClassDef(name=syntax.Name(value=name)):
                makers[name] = lambda node=statement: describe(node, scope)  # type: ignore[misc]
            case syntax.FunctionDef(name=syntax.Name(value=name)):
                homes[statement] = scope
                functions[name] = lambda node=statement: Function(node, {})  # type: ignore[misc]
            case syntax.Assign(targets=[syntax.AssignTarget(target=syntax.Name(value=name))], value=value) if (
                isinstance(value, syntax.Lambda)
                or (isinstance(value, syntax.Dict) and len(value.elements) <= MAX_TABLE)
            ):
                functions[name] = lambda table=value: _evaluated(scope, table, FlowGraph(), {})  # type: ignore[misc]
            case syntax.Assign(
                targets=[syntax.AssignTarget(target=syntax.Name(value=name))],
                value=syntax.Call() | syntax.Name() | syntax.Attribute() as value,
            ) if name not in bound and _names_one(value):
                before = functions.get(name, makers.get(name))
                functions[name] = functools.partial(_callable, scope, value, name, before)
            case _:
                continue
    makers |= functions
    # A declared name means what it is declared to be; what stands in it is not looked at.
    words = {name: word for name in makers if (word := defined(name, "")) and word.meaning is not Meaning.NORM}
    makers |= {name: lambda word=word: word for name, word in words.items()}  # type: ignore[misc]
    return scope


def _names_one(value: syntax.Expression) -> bool:
    """Whether an expression is a name, or a call that is given one."""
    names = (syntax.Name, syntax.Attribute)
    return isinstance(value, names) or (
        isinstance(value, syntax.Call) and any(isinstance(argument.value, names) for argument in value.args)
    )


def _callable(
    scope: Scope, value: syntax.Expression, name: str, before: Callable[[], Value | None] | None
) -> Value | None:
    """Return a function under another name, or wrapped: `f = torch.compile(g)`; what the name was before otherwise."""
    earlier, graph = before() if before is not None else None, FlowGraph()
    found = _evaluated(scope, value, graph, {} if earlier is None else {name: earlier})
    # What holds tensors belongs to the graph that they are nodes of.
    return found if isinstance(found, (Function, Partial)) and not len(graph) else earlier


def _evaluated(scope: Scope, value: syntax.Expression, graph: FlowGraph, variables: dict[str, Value]) -> Value | None:
    """Return what an expression at the top level of a module is."""
    with suppress(FlowLost, RecursionError):
        return Interpreter(graph, scope, "").evaluate(State(variables), value)
    return None
