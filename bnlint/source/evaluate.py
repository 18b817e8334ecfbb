"""Expressions: what an expression of the source text evaluates to, recorded as nodes of the flow graph."""

from __future__ import annotations

from abc import ABC, abstractmethod

from bnlint.finding import SourceLocation
from bnlint.flow.graph import Kind, Mode, Origin
from bnlint.flow.ops import STOPS, canonical
from bnlint.source import syntax
from bnlint.source.classes import last_name
from bnlint.source.indices import index_key, takes_all
from bnlint.source.names import CONSTANTS
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
COMPARISONS = frozenset({"eq", "ne", "lt", "le", "gt", "ge"})
_LAYOUTS = frozenset({"T", "mT", "H", "mH", "real"})


class Evaluator(Recorder, ABC):
    """Interprets expressions. Statements and calls build on it."""

    # -- expressions

    def evaluate(self, state: State, node: syntax.Expression) -> Value:
        """Evaluate an expression; side effects (in-place operations, walrus) change `state`."""
        match node:
            case syntax.Name(value=name):
                return self._name(state, name)
            case syntax.Integer() | syntax.Float() | syntax.SimpleString() | syntax.ConcatenatedString():
                return Opaque("?") if node.evaluated_value is None else Literal(node.evaluated_value)
            case syntax.Attribute():
                return self.attribute(state, self.evaluate(state, node.value), node)
            case syntax.Call():
                return self.call(state, node)
            case syntax.BinaryOperation():
                left, right = self.evaluate(state, node.left), self.evaluate(state, node.right)
                return self.arithmetic(state, node.operator, left, right, node)
            case syntax.UnaryOperation():
                return self._unary(state, node)
            case syntax.BooleanOperation():
                return self._boolean(state, node)
            case syntax.Comparison():
                return self._comparison(state, node)
            case syntax.Subscript():
                return self._subscript(state, node)
            case syntax.IfExp():
                return self._choice(state, node)
            case syntax.Tuple() | syntax.List() | syntax.Set():
                return self._sequence(state, node)
            case syntax.Dict():
                return self._dict(state, node)
            case syntax.NamedExpr(target=target, value=value):
                result = self.evaluate(state, value)
                self.assign(state, target, result, value)
                return result
            case syntax.Lambda():
                self.scope.homes[node] = self.scope
                return Function(node, state.variables)
            case syntax.ListComp() | syntax.GeneratorExp() | syntax.SetComp():
                return self._comprehension(state, node.for_in, None, node.elt)
            case syntax.DictComp():
                return self._comprehension(state, node.for_in, node.key, node.value)
            case syntax.Yield():
                return self.produce(state, node)
            case syntax.Await(expression=expression):
                return self.evaluate(state, expression)
            case _:
                return Opaque("?")

    @abstractmethod
    def call(self, state: State, node: syntax.Call) -> Value:
        """Evaluate a call (see `calls`)."""

    @abstractmethod
    def assign(self, state: State, target: syntax.Expression, value: Value, source: syntax.Expression | None) -> None:
        """Bind a value to a target (see `interpret`)."""

    @abstractmethod
    def produce(self, state: State, node: syntax.Yield) -> Value:
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

    def attribute(self, state: State, value: Value, node: syntax.Attribute) -> Value:
        """Evaluate `value.name`."""
        name = self.asks(node.attr.value) if isinstance(value, Instance) else node.attr.value
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

    def suffix(self, head: syntax.Expression, whole: syntax.Expression) -> SourceLocation:
        """Locate what `whole` adds behind `head`: the `.detach()` of `x.mean().detach()`."""
        first, last = self.locate(head.closed or head), self.locate(whole)
        return SourceLocation(last.path, first.end_line, first.end_column, last.end_line, last.end_column)

    def field(self, state: State, instance: Instance, name: str) -> Value:
        """Evaluate an attribute of an object of this file."""
        cls = instance.cls
        if self.asks(name) in instance.attributes:
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

    def arithmetic(self, state: State, name: str, left: Value, right: Value, node: syntax.Node) -> Value:
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

    def _unary(self, state: State, node: syntax.UnaryOperation) -> Value:
        value = self.evaluate(state, node.expression)
        match node.operator, value:
            case "minus", Tensor(index):
                return self.add(state, "neg", [index], self.locate(node))
            case "minus", Literal(int() | float() as number):
                return Literal(-number)
            case "not", _:
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

    def _boolean(self, state: State, node: syntax.BooleanOperation) -> Value:
        left = self.condition(self.evaluate(state, node.left))
        right = self.condition(self.evaluate(state, node.right))
        if node.operator == "and":
            return Condition(left.true & right.true, left.false | right.false)
        return Condition(left.true | right.true, left.false & right.false)

    def _comparison(self, state: State, node: syntax.Comparison) -> Value:
        left = self.evaluate(state, node.left)
        for part in node.comparisons:
            right = self.evaluate(state, part.comparator)
            compared = part.operator in COMPARISONS and len(node.comparisons) == 1
            if compared and any(isinstance(v, Tensor) for v in (left, right)):
                return self.arithmetic(state, part.operator, left, right, node)
        return Condition()

    def _choice(self, state: State, node: syntax.IfExp) -> Value:
        condition = self.condition(self.evaluate(state, node.test))
        branches = [
            (self.evaluate(state, expression), mode & state.mode)
            for expression, mode in ((node.body, condition.true), (node.orelse, condition.false))
            if mode & state.mode
        ]
        return self.merge(branches, condition == Condition()) if branches else Opaque("?")

    def _sequence(self, state: State, node: syntax.Tuple | syntax.List | syntax.Set) -> Value:
        items = Items()
        for position, element in enumerate(node.elements):
            value = self.evaluate(state, element.value)
            if isinstance(element, syntax.StarredElement):
                items.each = value.each if isinstance(value, Items) else None
            items.entries[position] = value
        return items

    def _dict(self, state: State, node: syntax.Dict) -> Value:
        items = Items()
        for element in node.elements:
            value = self.evaluate(state, element.value)
            if isinstance(element, syntax.DictElement):
                self.store_item(items, self.evaluate(state, element.key), value)
            elif isinstance(value, Items):
                items.entries |= value.entries
        return items

    def _subscript(self, state: State, node: syntax.Subscript) -> Value:
        value = self.evaluate(state, node.value)
        if isinstance(value, Tensor):
            if takes_all(node):
                return self.add(state, "reshape", [value.node], self.locate(node))
            match node.slice:
                case [syntax.SubscriptElement(slice=syntax.Index(value=syntax.Integer() as number))]:
                    return self.part(state, value.node, number.evaluated_value, self.locate(node))
            key = index_key([element.slice for element in node.slice], state.variables)
            return self.part(state, value.node, key, self.locate(node))
        if isinstance(value, Items) and len(node.slice) == 1:
            part = node.slice[0].slice
            if isinstance(part, syntax.Index):
                return self.load_item(value, self.evaluate(state, part.value))
            return value
        return unknown(value)

    def _comprehension(
        self, state: State, loop: syntax.CompFor, key: syntax.Expression | None, value: syntax.Expression
    ) -> Items:
        source, result = self.evaluate(state, loop.iter), Items()
        if isinstance(source, Items) and self.known(source) and loop.inner_for_in is None and not loop.ifs:
            for position, element in enumerate(self.elements(source)):
                self.assign(state, loop.target, element, loop.iter)
                place = Literal(position) if key is None else self.evaluate(state, key)
                self.store_item(result, place, self.evaluate(state, value))
            return result
        current: syntax.CompFor | None = loop
        while current is not None:
            self.assign(state, current.target, self.element(state, self.evaluate(state, current.iter)), current.iter)
            current = current.inner_for_in
        result.each = self.evaluate(state, value)
        return result
