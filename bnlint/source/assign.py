"""Assignments: a value bound to a name, an attribute, an entry of a container, or a buffer."""

from __future__ import annotations

from bnlint.finding import SourceLocation
from bnlint.flow.ops import RUNNING
from bnlint.source import syntax
from bnlint.source.calls import Caller
from bnlint.source.values import Instance, Items, Literal, Opaque, State, Tensor, Value


class Assigner(Caller):
    """Interprets assignments."""

    def assign(self, state: State, target: syntax.Expression, value: Value, source: syntax.Expression | None) -> None:
        """Bind a value to a name, attribute, entry or tuple of targets; `source` is the text of just that value."""
        match target:
            case syntax.Name(value=name):
                old = state.variables.get(name)
                buffer = self.state_of(state, old) if isinstance(old, Tensor) and RUNNING.match(name) else None
                if buffer is not None and isinstance(value, Tensor):
                    value = self.store(state, buffer, value, self._place(source), local=True)
                state.variables[name] = value
            case syntax.Tuple(elements=elements) | syntax.List(elements=elements):
                each = source.elements if isinstance(source, (syntax.Tuple, syntax.List)) else ()
                for position, element in enumerate(elements):
                    part = each[position].value if len(each) == len(elements) else None
                    self.assign(state, element.value, self._unpacked(state, value, position), part)
            case syntax.StarredElement(value=inner):
                self.assign(state, inner, value, source)
            case syntax.Attribute(value=owner, attr=syntax.Name(value=name)):
                self._assign_attribute(state, self.evaluate(state, owner), name, value, source)
            case syntax.Subscript():
                self._assign_item(state, target, value, source)
            case _:
                return

    def _place(self, source: syntax.Expression | None) -> SourceLocation | None:
        return None if source is None else self.locate(source)

    def _unpacked(self, state: State, value: Value, position: int) -> Value:
        match value:
            case Items():
                return self.load_item(value, Literal(position))
            case Instance(cls, attributes) if position < len(cls.fields):
                return attributes.get(cls.fields[position], Opaque("?"))
            case Tensor(node):
                return self.part(state, node, position, self.graph[node].origin.location)
            case _:
                return Opaque("?")

    def _assign_attribute(
        self, state: State, owner: Value, name: str, value: Value, source: syntax.Expression | None
    ) -> None:
        match owner, value:
            case Instance(cls), Tensor() if self.asks(name) in cls.buffers:
                self.store(state, name, value, self._place(source))
            case Instance(), _:
                owner.attributes[name] = value
            case Tensor(), Tensor() if name == "data" and (buffer := self.state_of(state, owner)) is not None:
                self.store(state, buffer, value, self._place(source), around=True)
            case Items(), _:
                owner.entries[name] = value
            case _:
                return

    def _assign_item(
        self, state: State, target: syntax.Subscript, value: Value, source: syntax.Expression | None
    ) -> None:
        owner = self.evaluate(state, target.value)
        if isinstance(owner, Opaque):  # a container made where the flow does not look, such as __init__
            owner = Items()
            self.assign(state, target.value, owner, source)
        if isinstance(owner, Items) and len(target.slice) == 1:
            part = target.slice[0].slice
            key = self.evaluate(state, part.value) if isinstance(part, syntax.Index) else Opaque("?")
            self.store_item(owner, key, value)
        elif isinstance(owner, Tensor) and isinstance(value, Tensor):
            buffer = self.state_of(state, owner)
            if buffer is not None:
                self.store(state, buffer, value, self._place(source))
            else:
                self.assign(state, target.value, self.merge([(owner, state.mode), (value, state.mode)]), source)
