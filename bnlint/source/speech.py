"""Calls of declared names: what a project says of functions that bnlint does not look into."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bnlint.flow.ops import DECLARED, is_inplace
from bnlint.source import syntax
from bnlint.source.record import contents
from bnlint.source.spelled import Spelled
from bnlint.source.values import Items, Name, State, Tensor, Value
from bnlint.vocabulary import Meaning, Word


class Speaker(Spelled):
    """Interprets calls of declared names."""

    def declared(self, state: State, receiver: Value, method: syntax.Attribute) -> Word | None:
        """Return the declared method that is called on what is no tensor; a function of a module is none."""
        head = method.value
        while isinstance(head, syntax.Attribute):
            head = head.value
        bound = isinstance(head, syntax.Name) and (head.value in state.variables or head.value in self.globals)
        of_module = isinstance(receiver, Name) and bound  # what only the top level of the file binds is an object
        return None if of_module else self.scope.methods.get(method.attr.value)

    def spoken(
        self,
        state: State,
        word: Word,
        values: Sequence[Value],
        node: syntax.Call,
        method: syntax.Attribute | None = None,
    ) -> Value:
        """Evaluate the call of a declared name: it is about the first tensor, or container of tensors, that goes in.

        Args:
            state: Where it is called.
            word: The name.
            values: What goes in, the tensor first if it is a method of one.
            node: The call.
            method: Its method, where that is one of a tensor.
        """
        subject = next((value for value in values if _tensors(value)), None)
        if word.meaning is Meaning.NORM:
            return self.opaque_call(state, values, node)
        if subject is None:
            return word  # an object of a class that is called later: `Freeze()(x)`
        result = self._result(state, word, subject, node, method)
        if method is not None and is_inplace(word.last) and isinstance(method.value, (syntax.Name, syntax.Attribute)):
            self.assign(state, method.value, result, node)
        return result

    def _result(
        self, state: State, word: Word, subject: Value, node: syntax.Call, method: syntax.Attribute | None
    ) -> Value:
        where = self.locate(node)
        match word.meaning:
            case Meaning.STOP if method is not None:
                place = self.suffix(method.value, node)
                return _each(subject, lambda tensor: self.stop(state, "detach", tensor, place, word=word))
            case Meaning.STOP:
                return _each(subject, lambda tensor: self.stop(state, "detach", tensor, where, where, word=word))
            case Meaning.STATISTIC:
                return self.add(state, DECLARED, [tensor.node for tensor in _tensors(subject)[:1]], where)
            case _:
                kept = {"cast": "clone"}
                return _each(subject, lambda tensor: self.add(state, "reshape", [tensor.node], where, kept))


def _tensors(value: Value) -> list[Tensor]:
    match value:
        case Tensor():
            return [value]
        case Items():
            return [tensor for part in contents(value) for tensor in _tensors(part)]
        case _:
            return []


def _each(value: Value, change: Callable[[Tensor], Tensor]) -> Value:
    """Return a container with each of its tensors changed, or the one tensor changed."""
    match value:
        case Tensor():
            return change(value)
        case Items(entries=entries, each=each):
            changed = {key: _each(entry, change) for key, entry in entries.items()}
            return Items(changed, None if each is None else _each(each, change))
        case _:
            return value
