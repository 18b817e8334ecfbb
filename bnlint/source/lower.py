"""From the text of a module to one flow graph per function."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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


@dataclass(frozen=True, slots=True)
class Parsed:
    """A module's syntax tree and where each of its nodes stands."""

    module: cst.Module
    locate: Callable[[cst.CSTNode], SourceLocation]


def parse(source: bytes, path: str) -> Parsed:
    """Parse a module.

    Args:
        source: The bytes of the file; its encoding is taken from its BOM or coding line.
        path: What locations call the file.

    Raises:
        libcst.ParserSyntaxError: The text is no Python.
    """
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    positions: Mapping[cst.CSTNode, CodeRange] = wrapper.resolve(PositionProvider)

    def locate(node: cst.CSTNode) -> SourceLocation:
        where = positions[node]
        return SourceLocation(path, where.start.line, where.start.column + 1, where.end.line, where.end.column + 1)

    return Parsed(wrapper.module, locate)


def lower(parsed: Parsed) -> Iterator[tuple[str, FlowGraph]]:
    """Yield each function of a module by its dotted name, with its flow graph.

    A function whose flow is lost yields nothing; neither does one that is decorated to run without gradients.
    """
    classes = collect_classes(parsed.module)
    names: dict[str, Value] = {**module_names(parsed.module), **classes}
    functions = {node.name.value: node for node in parsed.module.body if isinstance(node, cst.FunctionDef)}
    names |= {name: Function(node, {}) for name, node in functions.items()}
    for symbol, function in _entries(parsed.module, functions, classes):
        graph = FlowGraph()
        interpreter = Interpreter(graph, names, parsed.locate, symbol)
        if _inference_only(interpreter, function):
            continue
        try:
            interpreter.run(function)
        except (FlowLost, RecursionError):
            continue
        yield symbol, graph


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
            for name in sorted(set(names) - {"__init__"}):
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
