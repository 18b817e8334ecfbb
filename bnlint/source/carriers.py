"""What carries a statistic and what carries a stop: calls, operators and names of a file, in any order of lines."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bnlint.flow.ops import JOINING, SPELLED, Role, canonical, role
from bnlint.source.outline import CALLED, STATISTICS, STOPPING, Outline
from bnlint.source.toplevel import unfolded

STATISTIC, STOP = 1, 2
BOTH = STATISTIC | STOP
_JOINING = JOINING | SPELLED | frozenset({"batch_norm"})
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(slots=True)
class Function:
    """A function at the top level, or a method; functions in it are part of it."""

    key: tuple[str, str]
    node: ast.FunctionDef | ast.AsyncFunctionDef
    parameters: dict[str, set[str]] = field(default_factory=dict)
    off: bool = False
    names: tuple[str, ...] = ()


class Carriers:
    """What the names of a file carry; `joins` are the functions that use in arithmetic what both reach."""

    def __init__(self, sketch: Outline, lent: Mapping[str, int]) -> None:
        self.lent = dict(lent)
        for name, operation in sketch.originals.items():
            self.lent[name] = self.lent.get(name, 0) | _of(operation)
        self.elsewhere = lent.keys()
        self._members = sketch.members
        self.joins: set[tuple[str, str]] = set()
        self.functions: list[Function] = []
        self._named: dict[str, list[Function]] = defaultdict(list)
        self.rest: list[ast.stmt] = []
        #: class → what its bases in other files make
        self._above: dict[str, int] = {}
        #: (function or None, name) or ("", attribute) → what it carries
        self._held: dict[object, int] = defaultdict(int)
        self.returned: dict[str, int] = defaultdict(int)
        #: what is given to calls of which nobody knows what they run, and the functions that those may run
        self.loose = 0
        self.handed_on: set[str] = set()
        self.changed = False
        self.here: Function | None = None
        self.off = False

    def read(self, tree: ast.Module) -> None:
        """Take in the functions and classes of a file."""
        for node in unfolded(tree.body):
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._add(Function((node.name, node.name), node), node.name)
                case ast.ClassDef():
                    names = {last_of(base) for base in node.bases} | {_first(base) for base in node.bases}
                    self._above[node.name] = _union(self.lent.get(name, 0) for name in names)
                    for item in node.body:
                        if isinstance(item, _FUNCTION) and item.name != "__init__":  # no flow is followed into it
                            called = (node.name,) if item.name in CALLED else ()
                            self._add(Function((node.name, item.name), item), item.name, *called)
                case _:
                    self.rest.append(node)

    def _add(self, function: Function, *names: str) -> None:
        self.functions.append(function)
        function.names = names
        for name in names:
            self._named[name].append(function)

    def hold(self, key: object, carried: int) -> None:
        """Let something carry more."""
        if carried & ~self._held[key]:
            self._held[key] |= carried
            self.changed = True

    def key(self, name: str) -> object:
        """Return what a name is kept under in the function at hand."""
        return (self.here.key if self.here else None, name)

    def assign(self, target: ast.AST | None, carried: int) -> None:
        """Let what is assigned to carry more."""
        if not carried:
            return
        match target:
            case ast.Name(id=name):
                self.hold(self.key(name), carried)
                self.hold((None, name), carried if self.here is None else 0)
            case ast.Attribute(value=value, attr=name):
                self.hold(("", name), carried)
                if not isinstance(value, ast.Name) or value.id != "self":
                    self.assign(value, carried | (_of(name) & STOP))  # written around autograd: `mean.data.copy_(…)`
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Call(func=value):
                self.assign(value, carried)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for element in elements:
                    self.assign(element, carried)
            case _:
                return

    def _called(self, func: ast.expr) -> int:
        if not isinstance(func, ast.Name):
            return self.carried_by(func)
        if func.id == "super" and self.here is not None:
            return self._above.get(self.here.key[0], 0)
        held = self._held[self.key(func.id)] | self._held[(None, func.id)]
        return held | self.lent.get(func.id, 0) | self.returned[func.id]

    def _member(self, node: ast.Attribute, owner: int) -> int:
        held = owner | self._held[("", node.attr)] | self.lent.get(node.attr, 0) | self.returned[node.attr]
        # `self.norm` is a layer, and `functools.reduce` takes numbers.
        own = isinstance(node.value, ast.Name) and node.value.id in {"self", "functools"}
        return held if own else held | _of(node.attr)

    def carried_by(self, node: ast.AST | None) -> int:
        """Return what an expression carries."""
        match node:
            case None | ast.Constant():
                return 0
            case ast.Name(id=name):
                if name in self._named:
                    self.handed_on.add(name)
                return self._called(node)
            case ast.Attribute(value=value, attr=name):
                if name in self._named:
                    self.handed_on.add(name)
                return self._member(node, self.carried_by(value))
            case ast.Call():
                return self._call(node)
            case ast.BinOp(left=left, right=right):
                return self.joined(self.carried_by(left), self.carried_by(right))
            case ast.NamedExpr(target=target, value=value):
                carried = self.carried_by(value)
                self.assign(target, carried)
                return carried
            case ast.Lambda(args=args, body=body):
                self.inner("", args)
                return self.carried_by(body)
            case ast.Yield(value=value) | ast.YieldFrom(value=value) | ast.Await(value=value):
                carried = self.carried_by(value)
                self.give_back(carried)
                return carried
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for loop in node.generators:
                    self.assign(loop.target, self.carried_by(loop.iter))
        return _union(map(self.carried_by, ast.iter_child_nodes(node)))

    def joined(self, left: int, right: int) -> int:
        """Return what an operation of two values carries, and note it where it may be a normalization."""
        if BOTH in {left, right} and self.here is not None:
            self.joins.add(self.here.key)
        return left | right | (STOP if self.off else 0)

    def _call(self, node: ast.Call) -> int:
        func = node.func
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        given = [self.carried_by(value) for value in values]
        every = _union(given)
        receiver = self.carried_by(func.value) if isinstance(func, ast.Attribute) else 0
        carried = every | (self._member(func, receiver) if isinstance(func, ast.Attribute) else self._called(func))
        if (isinstance(func, ast.Name) and name == "float") or (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "math"
        ):
            carried |= STOP
        off = STOP if self.off else 0
        if isinstance(func, ast.Attribute):
            self.assign(func.value, every | (_of(name) & STOP | off if name.endswith("_") else 0))
        for keyword in node.keywords:
            if keyword.arg == "out":
                self.assign(keyword.value, carried | off)
        if (_of(name) | self.lent.get(name, 0)) & STOP:
            for value in values:
                self.assign(value, STOP)
        made = self._members.get(name, ())
        carried |= _union(self.lent.get(each, 0) for each in made)
        out = not self.elsewhere.isdisjoint({name, *made}) or (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Call) and last_of(func.value.func) == "super"
        )
        joins = out or role(canonical(name)) is Role.ARITHMETIC or name in _JOINING
        if joins and self.here is not None and BOTH in {*given, receiver}:
            self.joins.add(self.here.key)
        carried |= self._handed(node, name, values, given, every)
        return carried | off

    def _handed(self, node: ast.Call, name: str, values: list[ast.expr], given: list[int], every: int) -> int:
        """Hand arguments over to the functions that a call may mean; return what comes back."""
        meant = [each for key in (name, *self._members.get(name, ())) for each in self._named.get(key, ())]
        inner = self.here.parameters.get(name, self.here.parameters.get("", ())) if self.here else ()
        for parameter in inner:
            self.hold(self.key(parameter), every)
        if not meant:
            if every & ~self.loose:
                self.loose |= every
                self.changed = True
            return 0
        simple = not node.keywords and not any(isinstance(value, ast.Starred) for value in values)
        for function in meant:
            names = parameters_of(function.node.args)
            offset = 1 if names[:1] in (["self"], ["cls"]) and function.key[0] != function.key[1] else 0
            for position, parameter in enumerate(names[offset:]):
                carried = given[position] if simple and position < len(given) else every
                self.hold((function.key, parameter), carried)
                back = self._held[(function.key, parameter)]
                if simple and position < len(values):
                    self.assign(values[position], back)
                else:
                    for value in values:
                        self.assign(value, back)
            if self.off and not function.off:
                function.off = self.changed = True
        return _union(self.returned[each] for function in meant for each in function.names)

    def inner(self, name: str, args: ast.arguments) -> None:
        """Note the parameters of a function in the one at hand; those of all lambdas are under ""."""
        if self.here is not None:
            known = self.here.parameters.setdefault(name, set())
            if not known.issuperset(names := parameters_of(args)):
                known.update(names)
                self.changed = True

    def give_back(self, carried: int) -> None:
        """Let the function at hand return something that carries more."""
        if self.here is None:
            return
        carried |= STOP if self.off else 0
        for name in self.here.names:
            if carried & ~self.returned[name]:
                self.returned[name] |= carried
                self.changed = True


def _of(operation: str) -> int:
    return (STATISTIC if operation in STATISTICS else 0) | (STOP if operation in STOPPING else 0)


def _union(parts: Iterable[int]) -> int:
    whole = 0
    for part in parts:
        whole |= part
    return whole


def _first(node: ast.expr) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def last_of(func: ast.expr) -> str:
    """Return the last part of a dotted name."""
    return func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""


def parameters_of(args: ast.arguments) -> list[str]:
    """Return the names of all parameters."""
    rest = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [each.arg for each in (*args.posonlyargs, *args.args, *args.kwonlyargs, *rest)]
