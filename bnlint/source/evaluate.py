"""Expressions: what an expression of the source text evaluates to, recorded as nodes of the flow graph."""

from __future__ import annotations

from abc import ABC, abstractmethod

import libcst as cst

from bnlint.finding import SourceLocation
from bnlint.flow.graph import Kind, Mode, Origin
from bnlint.flow.ops import STOPS, canonical
from bnlint.source.classes import last_name
from bnlint.source.indices import index_key, takes_all
from bnlint.source.names import CONSTANTS, literal
from bnlint.source.operators import BINARY, COMPARISONS
from bnlint.source.record import Recorder
from bnlint.source.values import (
    Class,
    Condition,
    Function,
    Instance,
    Items,
    Literal,
    Name,
    Opaque,
    State,
    Tensor,
    Value,
    copied,
    member_word,
    unknown,
)
from bnlint.vocabulary import Word

#: the fields of what `max`, `min` and `median` return
_PLACES = {"values": 0, "indices": 1}
_LAYOUTS = frozenset({"T", "mT", "H", "mH", "real"})


class Evaluator(Recorder, ABC):
    """Interprets expressions. Statements and calls build on it."""

    # -- expressions

    def evaluate(self, state: State, node: cst.BaseExpression) -> Value:
        """Evaluate an expression; side effects (in-place operations, walrus) change `state`."""
        match node:
            case cst.Name(value=name):
                return self._name(state, name)
            case cst.Integer() | cst.Float() | cst.SimpleString() | cst.ConcatenatedString():
                return self._literal(node)
            case cst.Attribute():
                return self.attribute(state, self.evaluate(state, node.value), node)
            case cst.Call():
                return self.call(state, node)
            case cst.BinaryOperation():
                left, right = self.evaluate(state, node.left), self.evaluate(state, node.right)
                return self.arithmetic(state, BINARY.get(type(node.operator), "other"), left, right, node)
            case cst.UnaryOperation():
                return self._unary(state, node)
            case cst.BooleanOperation():
                return self._boolean(state, node)
            case cst.Comparison():
                return self._comparison(state, node)
            case cst.Subscript():
                return self._subscript(state, node)
            case cst.IfExp():
                return self._choice(state, node)
            case cst.Tuple() | cst.List() | cst.Set():
                return self._sequence(state, node)
            case cst.Dict():
                return self._dict(state, node)
            case cst.NamedExpr(target=target, value=value):
                result = self.evaluate(state, value)
                self.assign(state, target, result, value)
                return result
            case cst.Lambda():
                self.scope.homes[node] = self.scope
                return Function(node, state.variables)
            case cst.ListComp() | cst.GeneratorExp() | cst.SetComp():
                return self._comprehension(state, node.for_in, None, node.elt)
            case cst.DictComp():
                return self._comprehension(state, node.for_in, node.key, node.value)
            case cst.Yield():
                return self.produce(state, node)
            case cst.Await(expression=expression):
                return self.evaluate(state, expression)
            case _:
                return Opaque("?")

    @abstractmethod
    def call(self, state: State, node: cst.Call) -> Value:
        """Evaluate a call (see `calls`)."""

    @abstractmethod
    def assign(self, state: State, target: cst.BaseExpression, value: Value, source: cst.BaseExpression | None) -> None:
        """Bind a value to a target (see `interpret`)."""

    @abstractmethod
    def produce(self, state: State, node: cst.Yield) -> Value:
        """Evaluate a `yield` (see `interpret`)."""

    def _name(self, state: State, name: str) -> Value:
        if name in CONSTANTS:
            return Literal(CONSTANTS[name])
        value = state.variables.get(name) or self.own(self.globals.get(name))
        return self.imported(value.path) if isinstance(value, Name) else value or Name(name)

    def imported(self, path: str) -> Value:
        """Return what a dotted path leads to: a function or class of the project, else its name."""
        return self.own(self.scope.resolve(path)) or Name(path)

    def own(self, value: Value | None) -> Value | None:
        """Return a container of a module as this entry point has it: no other sees what is written into it."""
        return None if value is None else copied(value, self.copies)

    def _literal(self, node: cst.BaseExpression) -> Value:
        try:
            return Literal(literal(cst.Module(body=[]).code_for_node(node)))
        except (ValueError, SyntaxError):
            return Opaque("?")

    def attribute(self, state: State, value: Value, node: cst.Attribute) -> Value:
        """Evaluate `value.name`."""
        name = node.attr.value
        if (word := member_word(value, name)) is not None:
            return word
        match value:
            case Name(path):
                return self.imported(f"{path}.{name}")
            case Tensor() if name == "data":
                return self.stop(state, STOPS[name], value, self.suffix(node.value, node))
            case Tensor() if name in _LAYOUTS:
                return self.add(state, "reshape", [value.node], self.locate(node))
            case Instance():
                return self.field(state, value, name)
            case Class() if name in value.methods:
                return Function(value.methods[name], {}, value)
            case Items() if name in value.entries:
                return value.entries[name]
            case Items() if name in _PLACES:
                return value.entries.get(_PLACES[name], Opaque("?"))
            case Condition():
                return Opaque("?")
            case _:
                if name == "training":
                    return Condition(Mode.TRAIN, Mode.EVAL)
                text = value.text if isinstance(value, Opaque) else "?"
                return Opaque(f"{text}.{name}")

    def suffix(self, head: cst.BaseExpression, whole: cst.BaseExpression) -> SourceLocation:
        """Locate what `whole` adds behind `head`: the `.detach()` of `x.mean().detach()`."""
        first, last = self.locate(head.rpar[-1] if head.rpar else head), self.locate(whole)
        return SourceLocation(last.path, first.end_line, first.end_column, last.end_line, last.end_column)

    def field(self, state: State, instance: Instance, name: str) -> Value:
        """Evaluate an attribute of an object of this file."""
        cls = instance.cls
        if name in instance.attributes:
            return instance.attributes[name]
        if name == "training":
            return Condition(Mode.TRAIN, Mode.EVAL)
        if name in cls.methods:
            method = cls.methods[name]
            function = Function(method, {}, cls, instance)
            decorators = {last_name(d.decorator) for d in method.decorators}
            return self.invoke(state, function, [], {}) if "property" in decorators else function
        kind = Kind.PARAMETER if name in cls.parameters else Kind.BUFFER if name in cls.buffers else None
        if kind is not None:
            node = self.graph.add(kind, name, origin=Origin(symbol=self.symbol))
            instance.attributes[name] = Tensor(node)
            return instance.attributes[name]
        made = cls.members[name].value() if name in cls.members else None
        if isinstance(made, Word):
            return made
        if isinstance(made, Class):
            instance.attributes[name] = Instance(made)
            return instance.attributes[name]
        number = cls.literals.get(name)
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            return Literal(number)
        return Opaque(f"self.{name}")

    @abstractmethod
    def invoke(self, state: State, function: Function, args: list[Value], kwargs: dict[str, Value]) -> Value:
        """Run a function of this file (see `interpret`)."""

    def arithmetic(self, state: State, name: str, left: Value, right: Value, node: cst.CSTNode) -> Value:
        """Evaluate a binary operation."""
        if not any(isinstance(v, Tensor) or (isinstance(v, Items) and v.each) for v in (left, right)):
            match left, right:
                case Literal(int() | float() as a), Literal(int() | float() as b) if name in {"add", "sub", "mul"}:
                    return Literal({"add": a + b, "sub": a - b, "mul": a * b}[name])
                case Literal(1 | 1.0), Opaque(text) if name == "sub":
                    return Opaque(f"1 - {text}")
                case _:
                    return unknown(left, right)
        args = [self.operand(state, left), self.operand(state, right)]
        return self.add(state, canonical(name), [a for a in args if a is not None], self.locate(node))

    def _unary(self, state: State, node: cst.UnaryOperation) -> Value:
        value = self.evaluate(state, node.expression)
        match node.operator, value:
            case cst.Minus(), Tensor(index):
                return self.add(state, "neg", [index], self.locate(node))
            case cst.Minus(), Literal(int() | float() as number):
                return Literal(-number)
            case cst.Not(), _:
                condition = self.condition(value)
                return Condition(condition.false, condition.true)
            case _:
                return value if isinstance(value, Tensor) else Opaque("?")

    def condition(self, value: Value) -> Condition:
        """Return in which modes a value may be true, and in which false."""
        match value:
            case Condition():
                return value
            case Literal(literal):
                return Condition(Mode.BOTH, Mode(0)) if literal else Condition(Mode(0), Mode.BOTH)
            case _:
                return Condition()

    def _boolean(self, state: State, node: cst.BooleanOperation) -> Value:
        left = self.condition(self.evaluate(state, node.left))
        right = self.condition(self.evaluate(state, node.right))
        if isinstance(node.operator, cst.And):
            return Condition(left.true & right.true, left.false | right.false)
        return Condition(left.true | right.true, left.false & right.false)

    def _comparison(self, state: State, node: cst.Comparison) -> Value:
        left = self.evaluate(state, node.left)
        for part in node.comparisons:
            right = self.evaluate(state, part.comparator)
            name = COMPARISONS.get(type(part.operator))
            if name and len(node.comparisons) == 1 and any(isinstance(v, Tensor) for v in (left, right)):
                return self.arithmetic(state, name, left, right, node)
        return Condition()

    def _choice(self, state: State, node: cst.IfExp) -> Value:
        condition = self.condition(self.evaluate(state, node.test))
        branches = [
            (self.evaluate(state, expression), mode & state.mode)
            for expression, mode in ((node.body, condition.true), (node.orelse, condition.false))
            if mode & state.mode
        ]
        return self.merge(branches, condition == Condition()) if branches else Opaque("?")

    def _sequence(self, state: State, node: cst.Tuple | cst.List | cst.Set) -> Value:
        items = Items()
        for position, element in enumerate(node.elements):
            value = self.evaluate(state, element.value)
            if isinstance(element, cst.StarredElement):
                items.each = value.each if isinstance(value, Items) else None
            items.entries[position] = value
        return items

    def _dict(self, state: State, node: cst.Dict) -> Value:
        items = Items()
        for element in node.elements:
            value = self.evaluate(state, element.value)
            if isinstance(element, cst.DictElement):
                self.store_item(items, self.evaluate(state, element.key), value)
            elif isinstance(value, Items):
                items.entries |= value.entries
        return items

    def _subscript(self, state: State, node: cst.Subscript) -> Value:
        value = self.evaluate(state, node.value)
        if isinstance(value, Tensor):
            if takes_all(node):
                return self.add(state, "reshape", [value.node], self.locate(node))
            match node.slice:
                case [cst.SubscriptElement(slice=cst.Index(value=cst.Integer() as number))]:
                    return self.part(state, value.node, number.evaluated_value, self.locate(node))
            return self.part(state, value.node, index_key(node, state.variables), self.locate(node))
        if isinstance(value, Items) and len(node.slice) == 1:
            part = node.slice[0].slice
            if isinstance(part, cst.Index):
                return self.load_item(value, self.evaluate(state, part.value))
            return value
        return unknown(value)

    def _comprehension(
        self, state: State, loop: cst.CompFor, key: cst.BaseExpression | None, value: cst.BaseExpression
    ) -> Items:
        source, result = self.evaluate(state, loop.iter), Items()
        if isinstance(source, Items) and self.known(source) and loop.inner_for_in is None and not loop.ifs:
            for position, element in enumerate(self.elements(source)):
                self.assign(state, loop.target, element, loop.iter)
                place = Literal(position) if key is None else self.evaluate(state, key)
                self.store_item(result, place, self.evaluate(state, value))
            return result
        current: cst.CompFor | None = loop
        while current is not None:
            self.assign(state, current.target, self.element(state, self.evaluate(state, current.iter)), current.iter)
            current = current.inner_for_in
        result.each = self.evaluate(state, value)
        return result
