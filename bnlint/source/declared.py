"""What the text of a class says of its running statistics: how they are declared, and which methods know of them."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bnlint.flow.state import RUNNING
from bnlint.source import syntax
from bnlint.source.syntax import below

#: methods that give running statistics their first value, load or print them
_CARE = re.compile(r"__init__|reset|init|_?load_from_state_dict|extra_repr|__repr__|__setstate__")
_TENSORS = frozenset({"zeros", "ones", "full", "zeros_like", "ones_like", "tensor"})


@dataclass(frozen=True, slots=True, eq=False)
class Declared:
    """The running statistics of a class.

    Attributes:
        plain: Attributes that start as a tensor, or number, outside the state dict, and where they do.
        registered: The buffers that the class registers.
        defaults: Arguments of the constructor and the attributes that hold them, and their numbers by default.
        mentions: For each method the names and strings in it that may be attributes.
        mentioned: How many methods mention an attribute, those aside that give it its first value.
    """

    plain: Mapping[str, syntax.Node] = field(default_factory=dict)
    registered: frozenset[str] = frozenset()
    defaults: Mapping[str, float] = field(default_factory=dict)
    mentions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    mentioned: Mapping[str, int] = field(default_factory=dict)

    def private(self, method: str) -> frozenset[str]:
        """Return the attributes that this method mentions, or one that it calls, and no other that matters."""
        reached, todo = {method}, [method]
        while todo:
            for called in self.mentions.get(todo.pop(), frozenset()) & self.mentions.keys() - reached:
                reached.add(called)
                todo.append(called)
        inside = {name for each in reached for name in self.mentions.get(each, ())}
        own = _mentioned(self.mentions, reached)
        return frozenset(name for name in inside if self.mentioned.get(name, 0) == own[name])


def _mentioned(mentions: Mapping[str, frozenset[str]], methods: Iterable[str]) -> Counter[str]:
    """Count which of some methods mention an attribute, those aside that give it its first value."""
    return Counter(name for each in methods if not _CARE.match(each) for name in mentions.get(each, ()))


@dataclass(frozen=True, slots=True, eq=False)
class Constructed:
    """What a constructor says: attributes that start as a tensor, or number, and where; the numbers by default."""

    plain: Mapping[str, syntax.Node]
    defaults: Mapping[str, float]


@functools.lru_cache(64)
def constructed(node: syntax.ClassDef) -> Constructed:
    """Read the constructor of one class."""
    plain: dict[str, syntax.Node] = {}
    defaults: dict[str, float] = {}
    for method in node.body.body:
        if not isinstance(method, syntax.FunctionDef) or method.name.value != "__init__":
            continue
        numbers = _numbers(method)
        defaults |= numbers
        for part in below(method.body):
            match part:
                case syntax.Assign(targets=[syntax.AssignTarget(target=target)], value=value):
                    attribute = own(target)
                    if attribute is not None and _starts(attribute, value):
                        plain.setdefault(attribute, part)
                    elif attribute is not None and isinstance(value, syntax.Name) and value.value in numbers:
                        defaults[attribute] = numbers[value.value]
                case syntax.Arg(keyword=syntax.Name(value=keyword), value=syntax.Float() as given):
                    defaults[keyword] = given.evaluated_value
    return Constructed(plain, defaults)


@functools.lru_cache(64)
def declared(node: syntax.ClassDef, base: Declared | None) -> Declared:
    """Read the text of one class, all of it; it has the methods of its base as well."""
    registered = set(base.registered) if base else set()
    mentions = dict(base.mentions) if base else {}
    for method in node.body.body:
        if not isinstance(method, syntax.FunctionDef):
            continue
        known = set[str]()
        for part in below(method.body):
            match part:
                case syntax.Call(func=syntax.Attribute(attr=syntax.Name(value="register_buffer")), args=[first, *_]):
                    registered.add(_string(first.value) or "")
                case syntax.Attribute():
                    known.add(own(part) or "")
                case syntax.SimpleString():
                    known.add(_string(part) or "")
        mentions[method.name.value] = frozenset(known)
    start = constructed(node)
    unregistered = {name: at for name, at in start.plain.items() if name not in registered}
    defaults = {**(base.defaults if base else {}), **start.defaults}
    return Declared(unregistered, frozenset(registered), defaults, mentions, _mentioned(mentions, mentions))


def own(node: syntax.Node) -> str | None:
    """Return the name of an attribute of `self`."""
    match node:
        case syntax.Attribute(value=syntax.Name(value="self"), attr=syntax.Name(value=name)):
            return name
        case _:
            return None


def _starts(name: str, value: syntax.Expression) -> bool:
    """Whether an attribute starts as running statistics do: a constant tensor, or a number by their usual names."""
    if isinstance(value, syntax.Call):
        func = value.func.attr if isinstance(value.func, syntax.Attribute) else value.func
        return isinstance(func, syntax.Name) and func.value in _TENSORS
    return isinstance(value, (syntax.Integer, syntax.Float)) and RUNNING.match(name) is not None


def _numbers(method: syntax.FunctionDef) -> dict[str, float]:
    found: dict[str, float] = {}
    for parameter in (*method.params.params, *method.params.kwonly_params):
        if isinstance(parameter.default, (syntax.Integer, syntax.Float)):
            found[parameter.name.value] = float(parameter.default.evaluated_value)
    return found


def _string(node: syntax.Node) -> str | None:
    value = node.evaluated_value if isinstance(node, syntax.SimpleString) else None
    return value if isinstance(value, str) else None
