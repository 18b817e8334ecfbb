"""The outline of a file: what it defines and imports, and which names each of its functions mentions."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from bnlint.flow.ops import COLLECTIVES, GRAD_OFF, PAIRS, POOLS, REDUCTIONS, RUNNING, SPELLED, STOPS

STATISTICS = REDUCTIONS | SPELLED | frozenset(PAIRS) | frozenset(POOLS)
STOPPING = frozenset(STOPS) | frozenset(GRAD_OFF) | COLLECTIVES
#: functions that stop a gradient by their call alone; as methods or annotations the names mean something else
CONVERSIONS = frozenset({"float", "int", "bool"})
#: what calling an object of a class runs; a constructor is not followed
CALLED = ("__call__", "forward")
#: longer tables at the top level of a module are data
MAX_TABLE = 50
_LAYER_BASES = re.compile(r"Norm([123]d|Base)?$")
#: how a variance or its root looks
_SPREADS = frozenset({"var", "std", "sqrt", "rsqrt", "pow", *PAIRS})


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A function, a method, a table of functions, or (with the name "") the rest of a class.

    Attributes:
        top: The definition at the top level of the file that it is, or is part of.
        name: Its own name.
        names: The names that it mentions, those of its class's bases and of what makes its attributes included.
        statistic: Whether it computes a statistic.
        stop: Whether it stops a gradient.
        converts: Whether it makes a Python number of something.
        state: Whether it mentions running statistics.
        spread: Whether it takes a root or a variance.
        layer: Whether it is the forward of a class with a norm as its base, or with parameters of its own.
        runs: Whether it can be run with tensors: a function needs a parameter that may be one.
    """

    top: str
    name: str
    names: frozenset[str]
    statistic: bool
    stop: bool
    converts: bool
    state: bool = False
    spread: bool = False
    layer: bool = False
    runs: bool = True

    @property
    def keys(self) -> tuple[str, ...]:
        """The names by which others reach it: methods by the name alone, whatever the object."""
        return (self.name or self.top, *((self.top,) if self.name in CALLED else ()))


@dataclass(frozen=True, slots=True)
class Outline:
    """What a file says of itself before its flow is followed.

    Attributes:
        units: Its functions, methods and classes, in order.
        defining: Name → the units that it may mean in this file.
        imports: Name → the dotted paths that imports bind to it (`.stats.center`; of `import a.b`, both `a` and `a.b`).
        stars: The dotted paths of `from … import *`.
        exports: `__all__`, None where the file does not spell it out.
        spans: The definitions at the top level: name, first and last line; the name of data is "".
        bases: Class at the top level → its bases as dotted names.
    """

    units: tuple[Unit, ...]
    defining: Mapping[str, tuple[Unit, ...]]
    imports: Mapping[str, tuple[str, ...]]
    stars: tuple[str, ...]
    exports: frozenset[str] | None
    spans: tuple[tuple[str, int, int], ...]
    bases: Mapping[str, tuple[str, ...]]

    def of(self, top: str) -> tuple[Unit, ...]:
        """Return the units of a definition at the top level."""
        return tuple(unit for unit in self.units if unit.top == top)

    def defines(self, name: str) -> bool:
        """Whether a name is defined, or bound to a table of functions, at the top level."""
        return any(unit.top == name for unit in self.defining.get(name, ()))


@dataclass(slots=True)
class _Names:
    """What a part of a file mentions."""

    plain: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    operations: set[str] = field(default_factory=set)
    converts: bool = False

    @property
    def makes_parameters(self) -> bool:
        """Whether parameters are made."""
        return not (self.plain | self.attributes).isdisjoint({"Parameter", "register_parameter"})


@dataclass(slots=True)
class _Found:
    """What is collected from the whole file."""

    imports: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    originals: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    buffers: set[str] = field(default_factory=set)


def outline(tree: ast.Module) -> Outline:
    """Make the outline of a file."""
    found = _Found()
    drafts: list[tuple[Unit, _Names]] = []
    for node in tree.body:
        drafts += _drafts(node, found)
    if found.stars:
        found.originals |= {name: name for name in STATISTICS | STOPPING if name not in found.originals}
    units = tuple(_unit(draft, names, found) for draft, names in drafts)
    return Outline(
        units,
        _defining(units),
        {name: tuple(dict.fromkeys(paths)) for name, paths in found.imports.items()},
        tuple(found.stars),
        _exports(tree),
        tuple(_spans(tree)),
        {
            node.name: tuple(ast.unparse(base) for base in node.bases if isinstance(base, (ast.Name, ast.Attribute)))
            for node in tree.body
            if isinstance(node, ast.ClassDef)
        },
    )


def _drafts(node: ast.stmt, found: _Found) -> Iterator[tuple[Unit, _Names]]:
    draft = Unit("", "", frozenset(), False, False, False)
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            yield replace(draft, top=name, name=name, runs=_takes_tensors(node.args)), _mentioned([node], found)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict() | ast.Lambda()):
            yield replace(draft, top=name, name=name), _mentioned([node], found)
        case ast.ClassDef(name=name):
            methods = [item for item in node.body if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef))]
            rest = [*node.bases, *node.decorator_list, *(item for item in node.body if item not in methods)]
            yield replace(draft, top=name), _mentioned(rest, found)
            bases = _mentioned(node.bases, found)
            bodies = [(method, _mentioned([method], found)) for method in methods]
            layer = any(_LAYER_BASES.search(name) for name in bases.plain | bases.attributes) or any(
                names.makes_parameters for _, names in bodies
            )
            for method, mentioned in bodies:
                if method.name != "__init__":
                    # A class's bases lend it methods, so they belong to each of its own.
                    mentioned.plain |= bases.plain
                    mentioned.attributes |= bases.attributes
                    yield (
                        replace(draft, top=name, name=method.name, layer=layer and method.name == "forward"),
                        mentioned,
                    )
        case _:
            _mentioned([node], found)


def _takes_tensors(args: ast.arguments) -> bool:
    """Whether a call can hand over a tensor: numbers, strings and booleans as defaults say what a parameter is."""
    positional = [*args.posonlyargs, *args.args]
    without = len(positional) - len(args.defaults) + sum(1 for default in args.kw_defaults if default is None)
    defaults = [default for default in (*args.defaults, *args.kw_defaults) if default is not None]
    return without > 0 or any(
        isinstance(default, ast.Name) or (isinstance(default, ast.Constant) and default.value is None)
        for default in defaults
    )


def _mentioned(nodes: Iterable[ast.AST], found: _Found) -> _Names:
    """Walk part of a file once."""
    names, todo = _Names(), list(nodes)
    while todo:
        node = todo.pop()
        match node:
            case ast.Name(id=used):
                names.plain.add(used)
                continue
            case ast.Constant():
                continue
            case ast.Attribute(attr=used, value=value):
                names.attributes.add(used)
                if not (isinstance(value, ast.Name) and value.id == "self"):  # `self.norm(x)` is a layer
                    names.operations.add(used)
                todo.append(value)
                continue
            case ast.Call(func=ast.Name(id=used)) if used in CONVERSIONS:
                names.converts = True
            case ast.Call(func=ast.Attribute(attr="register_buffer"), args=[ast.Constant(value=str(buffer)), *_]):
                found.buffers.add(buffer)
            case ast.BinOp(op=ast.Pow()):
                names.operations.add("pow")
            case (
                ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Call(func=made))
                | ast.AnnAssign(target=ast.Attribute(attr=name), value=ast.Call(func=made))
            ):
                if isinstance(made, ast.Name):
                    found.members[name].add(made.id)
                elif isinstance(made, ast.Attribute) and isinstance(made.value, ast.Name):
                    found.members[name] |= {made.value.id, made.attr}
            case ast.Import() | ast.ImportFrom():
                _bind(node, found)
                continue
            case _:
                pass
        for key in node._fields:
            part = getattr(node, key, None)
            if isinstance(part, ast.AST):
                todo.append(part)
            elif isinstance(part, list):
                todo += [item for item in part if isinstance(item, ast.AST)]
    return names


def _bind(node: ast.Import | ast.ImportFrom, found: _Found) -> None:
    if isinstance(node, ast.Import):
        for alias in node.names:
            head = alias.name.partition(".")[0]
            found.imports[alias.asname or head] += [alias.name] if alias.asname else [head, alias.name]
        return
    prefix = "." * node.level + (node.module or "")
    for alias in node.names:
        if alias.name == "*":
            found.stars.append(prefix)
            continue
        found.originals[alias.asname or alias.name] = alias.name
        path = f"{prefix}.{alias.name}" if node.module else f"{prefix}{alias.name}"
        found.imports[alias.asname or alias.name].append(path)


def _unit(draft: Unit, names: _Names, found: _Found) -> Unit:
    operations = names.operations | {found.originals[name] for name in names.plain if name in found.originals}
    made = (found.members[name] for name in names.attributes & found.members.keys())
    mentioned = frozenset(names.plain.union(names.attributes, *made))
    return replace(
        draft,
        names=mentioned,
        statistic=not STATISTICS.isdisjoint(operations),
        stop=not STOPPING.isdisjoint(operations),
        converts=names.converts,
        state=not found.buffers.isdisjoint(mentioned) or any(RUNNING.match(name) for name in mentioned),
        spread=not _SPREADS.isdisjoint(operations),
    )


def _defining(units: Iterable[Unit]) -> dict[str, tuple[Unit, ...]]:
    defining: dict[str, list[Unit]] = defaultdict(list)
    for unit in units:
        for key in dict.fromkeys(unit.keys):
            defining[key].append(unit)
    return {name: tuple(meant) for name, meant in defining.items()}


def _exports(tree: ast.Module) -> frozenset[str] | None:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=elements) | ast.Tuple(elts=elements)):
                return frozenset(e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str))
            case _:
                continue
    return None


def is_needed(node: ast.stmt, tops: frozenset[str]) -> bool:
    """Whether a statement at the top level is one of some definitions, or no definition at all and no data."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return name in tops
        case ast.Assign(value=value) | ast.AnnAssign(value=value):
            return not _is_data(value)
        case _:
            return True


def _spans(tree: ast.Module) -> Iterator[tuple[str, int, int]]:
    ends = {0: -1} | {place: node.end_lineno or node.lineno for place, node in enumerate(tree.body, 1)}
    for place, node in enumerate(tree.body, 1):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                yield name, first, ends[place]
            case ast.Assign(value=value) | ast.AnnAssign(value=value) if _is_data(value):
                after = tree.body[place].lineno if place < len(tree.body) else ends[place] + 1
                if ends[place - 1] < node.lineno and ends[place] < after:  # no other statement on the same lines
                    yield "", node.lineno, ends[place]
            case _:
                continue


def _is_data(value: ast.expr | None) -> bool:
    """Whether a value is a container that the flow never looks into."""
    elements = len(value.keys) if isinstance(value, ast.Dict) else 0
    return isinstance(value, ast.List | ast.Set | ast.Tuple) or elements > MAX_TABLE
