"""Which functions may use a stopped statistic: what carries a statistic and what carries a stop, in any order of lines.

This is far quicker than to follow the flow, and sees more than there is: a name carries what it is given anywhere in
its function, an attribute what it is given anywhere in the file. Only what a statistic and a stop reach together, and
what is then used in arithmetic, is worth being followed.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bnlint.flow.ops import GRAD_OFF, JOINING, SPELLED, Role, canonical, role
from bnlint.source.outline import CALLED, STATISTICS, STOPPING, Outline

STATISTIC, STOP = 1, 2
BOTH = STATISTIC | STOP
#: rounds after which every function counts as one that may
MAX_ROUNDS = 12

_JOINING = JOINING | SPELLED | frozenset({"batch_norm"})
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPED = (ast.Lambda, *_FUNCTION)


@dataclass(slots=True)
class _Function:
    """A function at the top level, or a method; functions in it are part of it."""

    key: tuple[str, str]
    node: ast.FunctionDef | ast.AsyncFunctionDef
    parameters: dict[str, list[str]] = field(default_factory=dict)
    off: bool = False
    names: tuple[str, ...] = ()


def joining(tree: ast.Module, sketch: Outline, lent: Mapping[str, int]) -> frozenset[tuple[str, str]] | None:
    """Return the functions in which what a statistic and a stop reach is used in arithmetic, or leaves the file.

    Args:
        tree: The file, or the part of it that is needed.
        sketch: The outline of the file.
        lent: Name → what a definition in another file makes, `STATISTIC` or `STOP`, both or neither.

    Returns:
        Pairs of a definition at the top level and the name of the function, a method's own; None for all of them.
    """
    taint = _Taint(sketch, lent)
    taint.read(tree)
    for _ in range(MAX_ROUNDS):
        if not taint.spread():
            return frozenset(taint.joins)
    return None


class _Taint:
    def __init__(self, sketch: Outline, lent: Mapping[str, int]) -> None:
        self.lent = dict(lent)
        for name, operation in sketch.originals.items():
            self.lent[name] = self.lent.get(name, 0) | _of(operation)
        self.elsewhere = lent.keys()
        self._members = sketch.members
        self.joins: set[tuple[str, str]] = set()
        self._functions: list[_Function] = []
        self._named: dict[str, list[_Function]] = defaultdict(list)
        self._rest: list[ast.stmt] = []
        #: class → what its bases in other files make
        self._above: dict[str, int] = {}
        #: (function or None, name) or ("", attribute) → what it carries
        self._held: dict[object, int] = defaultdict(int)
        self._returned: dict[str, int] = defaultdict(int)
        #: what is given to calls of which nobody knows what they run, and the functions that those may run
        self._loose = 0
        self._handed_on: set[str] = set()
        self._changed = False
        self._here: _Function | None = None
        self._off = False

    def read(self, tree: ast.Module) -> None:
        for node in tree.body:
            match node:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._add(_Function((node.name, node.name), node), node.name)
                case ast.ClassDef():
                    names = {_last(base) for base in node.bases} | {_first(base) for base in node.bases}
                    self._above[node.name] = _union(self.lent.get(name, 0) for name in names)
                    for item in node.body:
                        if isinstance(item, _FUNCTION) and item.name != "__init__":  # no flow is followed into it
                            called = (node.name,) if item.name in CALLED else ()
                            self._add(_Function((node.name, item.name), item), item.name, *called)
                case _:
                    self._rest.append(node)

    def _add(self, function: _Function, *names: str) -> None:
        self._functions.append(function)
        for each in ast.walk(function.node):
            if isinstance(each, _SCOPED):
                inner = "" if isinstance(each, ast.Lambda) else each.name
                function.parameters.setdefault(inner, []).extend(_parameters(each.args))
        function.names = names
        for name in names:
            self._named[name].append(function)

    def spread(self) -> bool:
        """Go through everything once; whether anything carries more than before."""
        self._changed = False
        self._here, self._off = None, False
        self._statements(self._rest)
        for function in self._functions:
            self._here, self._off = function, function.off
            if any(self._carried(each) & STOP for each in function.node.decorator_list):
                self._off = True
            name = function.node.name
            if name in CALLED or name.startswith("__") or name in self._handed_on:
                for parameter in _parameters(function.node.args):
                    self._hold((function.key, parameter), self._loose)
            self._statements(function.node.body)
        return self._changed

    # -- what carries what

    def _hold(self, key: object, carried: int) -> None:
        if carried & ~self._held[key]:
            self._held[key] |= carried
            self._changed = True

    def _key(self, name: str) -> object:
        return (self._here.key if self._here else None, name)

    def _assign(self, target: ast.AST | None, carried: int) -> None:
        if not carried:
            return
        match target:
            case ast.Name(id=name):
                self._hold(self._key(name), carried)
                self._hold((None, name), carried if self._here is None else 0)
            case ast.Attribute(value=value, attr=name):
                self._hold(("", name), carried)
                if not isinstance(value, ast.Name) or value.id != "self":
                    self._assign(value, carried | (_of(name) & STOP))  # written around autograd: `mean.data.copy_(…)`
            case ast.Subscript(value=value) | ast.Starred(value=value) | ast.Call(func=value):
                self._assign(value, carried)
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for element in elements:
                    self._assign(element, carried)
            case _:
                return

    def _called(self, func: ast.expr) -> int:
        if not isinstance(func, ast.Name):
            return self._carried(func)
        if func.id == "super" and self._here is not None:
            return self._above.get(self._here.key[0], 0)
        held = self._held[self._key(func.id)] | self._held[(None, func.id)]
        return held | self.lent.get(func.id, 0) | self._returned[func.id]

    def _member(self, node: ast.Attribute, owner: int) -> int:
        held = owner | self._held[("", node.attr)] | self.lent.get(node.attr, 0) | self._returned[node.attr]
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        return held if own else held | _of(node.attr)  # `self.norm` is a layer

    def _carried(self, node: ast.AST | None) -> int:
        match node:
            case None | ast.Constant():
                return 0
            case ast.Name(id=name):
                if name in self._named:
                    self._handed_on.add(name)
                return self._called(node)
            case ast.Attribute(value=value, attr=name):
                if name in self._named:
                    self._handed_on.add(name)
                return self._member(node, self._carried(value))
            case ast.Call():
                return self._call(node)
            case ast.BinOp(left=left, right=right):
                return self._joined(self._carried(left), self._carried(right))
            case ast.NamedExpr(target=target, value=value):
                carried = self._carried(value)
                self._assign(target, carried)
                return carried
            case ast.Lambda(body=body):
                return self._carried(body)
            case ast.Yield(value=value) | ast.YieldFrom(value=value) | ast.Await(value=value):
                carried = self._carried(value)
                self._return(carried)
                return carried
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                for loop in node.generators:
                    self._assign(loop.target, self._carried(loop.iter))
        return _union(map(self._carried, ast.iter_child_nodes(node)))

    def _joined(self, left: int, right: int) -> int:
        if BOTH in {left, right} and self._here is not None:
            self.joins.add(self._here.key)
        return left | right | (STOP if self._off else 0)

    def _call(self, node: ast.Call) -> int:
        func = node.func
        name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
        given = [self._carried(value) for value in values]
        every = _union(given)
        receiver = self._carried(func.value) if isinstance(func, ast.Attribute) else 0
        carried = every | (self._member(func, receiver) if isinstance(func, ast.Attribute) else self._called(func))
        if (isinstance(func, ast.Name) and name == "float") or (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name) and func.value.id == "math"
        ):
            carried |= STOP
        if isinstance(func, ast.Attribute):
            self._assign(func.value, every | (_of(name) & STOP if name.endswith("_") else 0))
        if (_of(name) | self.lent.get(name, 0)) & STOP:
            for value in values:
                self._assign(value, STOP)
        made = self._members.get(name, ())
        carried |= _union(self.lent.get(each, 0) for each in made)
        out = not self.elsewhere.isdisjoint({name, *made}) or (
            isinstance(func, ast.Attribute) and isinstance(func.value, ast.Call) and _last(func.value.func) == "super"
        )
        joins = out or role(canonical(name)) is Role.ARITHMETIC or name in _JOINING
        if joins and self._here is not None and BOTH in {*given, receiver}:
            self.joins.add(self._here.key)
        carried |= self._handed(node, name, values, given, every)
        return carried | (STOP if self._off else 0)

    def _handed(self, node: ast.Call, name: str, values: list[ast.expr], given: list[int], every: int) -> int:
        """Hand arguments over to the functions that a call may mean; return what comes back."""
        meant = [each for key in (name, *self._members.get(name, ())) for each in self._named.get(key, ())]
        inner = self._here.parameters.get(name, self._here.parameters.get("", ())) if self._here else ()
        for parameter in inner:
            self._hold(self._key(parameter), every)
        if not meant:
            if every & ~self._loose:
                self._loose |= every
                self._changed = True
            return 0
        simple = not node.keywords and not any(isinstance(value, ast.Starred) for value in values)
        for function in meant:
            names = _parameters(function.node.args)
            offset = 1 if names[:1] in (["self"], ["cls"]) and function.key[0] != function.key[1] else 0
            for position, parameter in enumerate(names[offset:]):
                carried = given[position] if simple and position < len(given) else every
                self._hold((function.key, parameter), carried)
                back = self._held[(function.key, parameter)]
                if simple and position < len(values):
                    self._assign(values[position], back)
                else:
                    for value in values:
                        self._assign(value, back)
            if self._off and not function.off:
                function.off = self._changed = True
        return _union(self._returned[each] for function in meant for each in function.names)

    def _return(self, carried: int) -> None:
        if self._here is None:
            return
        carried |= STOP if self._off else 0
        for name in self._here.names:
            if carried & ~self._returned[name]:
                self._returned[name] |= carried
                self._changed = True

    # -- statements

    def _statements(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                carried = self._carried(value)
                for target in targets:
                    self._assign(target, carried)
            case ast.AnnAssign(target=target, value=value):
                self._assign(target, self._carried(value))
            case ast.AugAssign(target=target, value=value):
                self._assign(target, self._joined(self._carried(target), self._carried(value)))
            case ast.Return(value=value):
                self._return(self._carried(value))
            case ast.For(target=target, iter=iterated) | ast.AsyncFor(target=target, iter=iterated):
                self._assign(target, self._carried(iterated))
                self._statements([*node.body, *node.orelse])
            case ast.With(items=items) | ast.AsyncWith(items=items):
                before = self._off
                for item in items:
                    carried = self._carried(item.context_expr)
                    self._assign(item.optional_vars, carried)
                    self._off = self._off or bool(carried & STOP)
                self._statements(node.body)
                self._off = before
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                before = self._off
                if any(self._carried(each) & STOP for each in node.decorator_list):
                    self._off = True
                self._statements(node.body)
                self._off = before
                if self._here is not None:
                    self._hold(self._key(name), self._returned[self._here.node.name])
            case ast.Expr(value=ast.Call(func=func)) if _last(func) in GRAD_OFF:
                self._off = True  # until it is switched back
            case ast.Match(subject=subject, cases=cases):
                carried = self._carried(subject)
                for case in cases:
                    for each in ast.walk(case.pattern):
                        if isinstance(each, (ast.MatchAs, ast.MatchStar)) and each.name:
                            self._hold(self._key(each.name), carried)
                    self._statements(case.body)
            case _:
                for child in _parts(node):
                    if isinstance(child, ast.stmt):
                        self._statement(child)
                    else:
                        self._carried(child)


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


def _last(func: ast.expr) -> str:
    return func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler):
            yield from child.body
        else:
            yield child


def _parameters(args: ast.arguments) -> list[str]:
    rest = [each for each in (args.vararg, args.kwarg) if each is not None]
    return [each.arg for each in (*args.posonlyargs, *args.args, *args.kwonlyargs, *rest)]
