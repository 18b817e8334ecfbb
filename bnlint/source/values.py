"""What a name can hold while source text is interpreted: tensors of the flow graph, literals, containers, functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from bnlint.finding import SourceLocation
from bnlint.flow.graph import Mode
from bnlint.source import syntax
from bnlint.source.declared import Declared, declared
from bnlint.vocabulary import Word


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that the flow graph follows."""

    node: int


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, string, boolean or None that the text spells out."""

    value: object


@dataclass(frozen=True, slots=True)
class Condition:
    """A truth value: the modes in which it may be true and in which it may be false."""

    true: Mode = Mode.BOTH
    false: Mode = Mode.BOTH


@dataclass(frozen=True, slots=True)
class Name:
    """A name that was imported or is built in, by its full path (`torch.nn.functional.relu`)."""

    path: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of which nothing is known but how it is spelled, and which tensors went into it."""

    text: str = ""


@dataclass(eq=False, slots=True)
class Items:
    """A tuple, list, dict or object with named fields; `each` stands for the entries whose key is not known."""

    entries: dict[object, Value] = field(default_factory=dict)
    each: Value | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Function:
    """A function of the project, with the variables around it and the object that it is bound to.

    `off` is the call that wraps it to run without gradients: `torch.no_grad()(function)`.
    """

    node: syntax.FunctionDef | syntax.Lambda
    closure: Mapping[str, Value]
    owner: Class | None = None
    bound: Instance | None = None
    off: GradOff | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Partial:
    """What is called with some arguments that are there before: `functools.partial(function, …)`."""

    callee: Value
    args: tuple[Value, ...]
    kwargs: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Switch:
    """A context manager or decorator that turns the recording of gradients off; the kind of stop that it makes."""

    kind: str


@dataclass(frozen=True, eq=False, slots=True)
class Class:
    """A class of the project: its methods (those of its bases included) and what its text says of its attributes.

    `members` tells what makes an attribute; that is asked only when the flow needs it. `bases` are the last names of
    its base classes, and of theirs as far as the project tells. `words` are its members that are declared names.
    `node` is its definition, where it has one.
    """

    name: str
    methods: Mapping[str, syntax.FunctionDef]
    parameters: frozenset[str]
    buffers: frozenset[str]
    literals: Mapping[str, object]
    fields: tuple[str, ...] = ()
    base: Class | None = None
    members: Mapping[str, Member] = field(default_factory=dict)
    bases: frozenset[str] = frozenset()
    node: syntax.ClassDef | None = None
    words: Mapping[str, Word] = field(default_factory=dict)

    @property
    def declared(self) -> Declared:
        """What its text says of its running statistics; to tell it, all of the text is read."""
        base = None if self.base is None else self.base.declared
        return Declared() if self.node is None else declared(self.node, base)


@dataclass(frozen=True, slots=True)
class Member:
    """What an attribute is an object of: the dotted name that is called to make it, in the scope of its class.

    The name is "" where the text makes the attribute several things.
    """

    made: str
    scope: Scope

    def value(self) -> Value | None:
        """Return what makes the attribute, where it is known."""
        return self.scope.value(self.made) if self.made else None


@dataclass(frozen=True, eq=False, slots=True)
class Scope:
    """A file, as the code in it sees it.

    Attributes:
        names: What stands at its top level.
        locate: Says where a node of it stands.
        resolve: Says what a dotted path (`.stats.center`) leads to in the project, None where it leads out of it.
        homes: The scope of each function, shared by all scopes of one check.
        methods: The methods that are declared names here.
        defined: Says which declared name a definition at the top level is, or a member of it.
    """

    names: Mapping[str, Value]
    locate: Callable[[syntax.Node], SourceLocation]
    resolve: Callable[[str], Value | None]
    homes: dict[syntax.Node, Scope]
    methods: Mapping[str, Word] = field(default_factory=dict)
    defined: Callable[[str, str], Word | None] = lambda _, __: None

    def value(self, dotted: str) -> Value | None:
        """Return what a dotted name means here, where it leads to something in the project."""
        head, _, rest = dotted.partition(".")
        value = self.names.get(head)
        if isinstance(value, Name):
            return self.resolve(f"{value.path}.{rest}" if rest else value.path)
        return None if rest else value


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a class of the project: `self`, or a dataclass."""

    cls: Class
    attributes: dict[str, Value] = field(default_factory=dict)


#: what calling a class that is a declared name, or an object of it, may go through
_APPLYING = frozenset({"apply", "forward", "__call__"})


def member_word(value: Value, name: str) -> Word | None:
    """Return the declared name that an attribute of a value is."""
    match value:
        case Class(words=words) | Instance(cls=Class(words=words)):
            return words.get(name)
        case Word() if name in _APPLYING:
            return value
        case _:
            return None


def unknown(*sources: Value) -> Opaque:
    """Return a value of which nothing is known but the attribute of `self` that went into it, if one did."""
    texts = (source.text for source in sources if isinstance(source, Opaque))
    return Opaque(next((text for text in texts if text.startswith("self.")), "?"))


Value = Tensor | Literal | Condition | Name | Opaque | Items | Function | Partial | Switch | Class | Instance | Word

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class GradOff:
    """A region in which no gradient is recorded; `word` is the declared name that makes it one."""

    kind: str
    region: SourceLocation
    word: Word | None = None


@dataclass(slots=True)
class State:
    """What is known at one point of a function: variables, the mode that runs here, whether gradients are recorded.

    `mode` is empty once every path has returned or raised.
    """

    variables: dict[str, Value]
    mode: Mode = Mode.BOTH
    grad_off: tuple[GradOff | None, ...] = ()

    def fork(self, mode: Mode) -> Branch:
        """Return a copy for one branch, containers included: branches do not see each other's writes."""
        copies: dict[int, tuple[Items | Instance, Items | Instance]] = {}
        variables = {name: copied(value, copies) for name, value in self.variables.items()}
        return Branch(State(variables, self.mode & mode, self.grad_off), copies)


@dataclass(frozen=True, slots=True)
class Branch:
    """One branch of a fork, and which of its containers is a copy of which."""

    state: State
    copies: Mapping[int, tuple[Items | Instance, Items | Instance]]


def copied(value: Value, copies: dict[int, tuple[Items | Instance, Items | Instance]]) -> Value:
    """Return a value with copies of its containers; `copies` keeps them, and each container has one copy."""
    if not isinstance(value, (Items, Instance)):
        return value
    if id(value) in copies:
        return copies[id(value)][1]
    if isinstance(value, Items):
        items = Items()
        copies[id(value)] = value, items
        items.entries = {key: copied(entry, copies) for key, entry in value.entries.items()}
        items.each = None if value.each is None else copied(value.each, copies)
        return items
    instance = Instance(value.cls)
    copies[id(value)] = value, instance
    instance.attributes = {name: copied(entry, copies) for name, entry in value.attributes.items()}
    return instance


def rejoin(state: State, branches: list[Branch], merge: Callable[[list[tuple[Value, Mode]]], Value]) -> None:
    """Write what the branches of a fork did back into `state`.

    Containers keep their identity; variables are merged over the branches that go on.

    Args:
        state: The state that was forked; changed in place.
        branches: All branches, those that ended in a return included (their writes into objects count).
        merge: Makes one value of the values of several branches, given the mode of each.
    """
    origins = {id(copy): original for branch in branches for original, copy in branch.copies.values()}

    def restored(value: Value) -> Value:
        return origins.get(id(value), value)

    def merged(tables: list[tuple[dict[Key, Value], Mode]]) -> dict[Key, Value]:
        result: dict[Key, Value] = {}
        for key in dict.fromkeys(key for table, _ in tables for key in table):
            values = [table[key] for table, _ in tables if key in table]
            if all(value is values[0] for value in values):  # most variables are the same in every branch
                result[key] = restored(values[0])
            else:
                result[key] = merge([(restored(t[key]), mode) for t, mode in tables if key in t])
        return result

    everything = [(b, b.state.mode or Mode.BOTH) for b in branches]
    for key, (original, _) in branches[0].copies.items():
        copies = [(b.copies[key][1], mode) for b, mode in everything if key in b.copies]
        if isinstance(original, Items):
            original.entries = merged([(c.entries, mode) for c, mode in copies if isinstance(c, Items)])
        else:
            original.attributes = merged([(c.attributes, mode) for c, mode in copies if isinstance(c, Instance)])
    going_on = [(b.state.variables, b.state.mode) for b in branches if b.state.mode]
    state.mode = Mode(0)
    for _, mode in going_on:
        state.mode |= mode
    if going_on:
        state.variables = merged(going_on)
    offs = [b.state.grad_off for b in branches if b.state.mode]
    if offs:
        state.grad_off = offs[0] if all(off == offs[0] for off in offs) else ()
