"""From the text of a module to one flow graph per function."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from bnlint.finding import SourceLocation
from bnlint.flow.graph import FlowGraph
from bnlint.source.calls import grad_switch
from bnlint.source.classes import collect_classes
from bnlint.source.interpret import Interpreter
from bnlint.source.names import module_names
from bnlint.source.record import FlowLost
from bnlint.source.values import Class, Function, Instance, State, Value

#: longer tables at the top level of a module are data
MAX_TABLE = 50
#: where the nodes of a module are that was not placed
NOWHERE = SourceLocation("", 1, 1, 1, 1)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A module's syntax tree and where each of its nodes stands."""

    module: cst.Module
    locate: Callable[[cst.CSTNode], SourceLocation]


def parse(source: str, path: str) -> Parsed:
    """Parse a module.

    Args:
        source: The text of the file.
        path: What locations call the file.

    Raises:
        libcst.ParserSyntaxError: The text is no Python.
    """
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)

    @functools.cache
    def positions() -> Mapping[cst.CSTNode, CodeRange]:
        return wrapper.resolve(PositionProvider)

    def locate(node: cst.CSTNode) -> SourceLocation:
        where = positions()[node]
        return SourceLocation(path, where.start.line, where.start.column + 1, where.end.line, where.end.column + 1)

    return Parsed(wrapper.module, locate)


def unplaced(parsed: Parsed) -> Parsed:
    """Return the same module with every node at the same place: to place them takes longer than to parse."""
    return Parsed(parsed.module, lambda _: NOWHERE)


def lower(parsed: Parsed, wanted: Collection[str] | None = None) -> Iterator[tuple[str, FlowGraph]]:
    """Yield each function of a module by its dotted name, with its flow graph.

    Args:
        parsed: The module.
        wanted: Names of the functions and methods to look at; None for all.

    A function whose flow is lost yields nothing; neither does one that is decorated to run without gradients.
    """
    classes = collect_classes(parsed.module)
    names: dict[str, Value] = {**module_names(parsed.module), **classes}
    functions = {node.name.value: node for node in parsed.module.body if isinstance(node, cst.FunctionDef)}
    names |= {name: Function(node, {}) for name, node in functions.items()}
    names |= _tables(parsed, names)
    for symbol, function in _entries(parsed.module, functions, classes):
        if wanted is not None and symbol.rpartition(".")[2] not in wanted:
            continue
        graph = FlowGraph()
        interpreter = Interpreter(graph, names, parsed.locate, symbol)
        if _inference_only(interpreter, function):
            continue
        try:
            interpreter.run(function)
        except (FlowLost, RecursionError):
            continue
        yield symbol, graph


def _tables(parsed: Parsed, names: Mapping[str, Value]) -> dict[str, Value]:
    """Return the tables of functions, and the lambdas, at the top level of a module."""
    interpreter, found = Interpreter(FlowGraph(), names, parsed.locate, ""), State({})
    for statement in parsed.module.body:
        match statement:
            case cst.SimpleStatementLine(
                body=[cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value)]
            ) if isinstance(value, cst.Lambda) or (isinstance(value, cst.Dict) and len(value.elements) <= MAX_TABLE):
                with suppress(FlowLost, RecursionError):
                    found.variables[name] = interpreter.evaluate(found, value)
    return found.variables


def _entries(
    module: cst.Module, functions: Mapping[str, cst.FunctionDef], classes: Mapping[str, Class]
) -> Iterator[tuple[str, Function]]:
    for name, node in functions.items():
        yield name, Function(node, {})
    for statement in module.body:
        if isinstance(statement, cst.ClassDef):
            cls = classes[statement.name.value]
            own = {item.name.value for item in statement.body.body if isinstance(item, cst.FunctionDef)}
            # An inherited method is another function where this class overrides what it calls.
            names = cls.methods if cls.base is not None and own else own
            # Of two classes with one name, the last is the one that the name means.
            for name in sorted(set(names).intersection(cls.methods) - {"__init__"}):
                yield f"{cls.name}.{name}", Function(cls.methods[name], {}, cls, Instance(cls))


def _inference_only(interpreter: Interpreter, function: Function) -> bool:
    for decorator in () if isinstance(function.node, cst.Lambda) else function.node.decorators:
        expression = decorator.decorator
        args: list[Value] = []
        if isinstance(expression, cst.Call):
            args = [interpreter.evaluate(State({}), argument.value) for argument in expression.args]
            expression = expression.func
        if grad_switch(interpreter.evaluate(State({}), expression), args) is not None:
            return True
    return False
