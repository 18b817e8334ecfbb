"""Functions that put new normalization layers in place of trained ones, and what those lose on the way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from bnlint.source.replacements import Replacement, replacement
from bnlint.source.trained import runs_on_trained

_WAYS = (b"setattr", b"_module", b"set_submodule")
_BYTES = re.compile(rb"\b(setattr|_modules|add_module|register_module|set_submodule)\b")
#: a test for classes, up to the colon behind it
_TEST_BYTES = re.compile(rb"\b(?:isinstance|type)\s*\(\s*\w+\s*[,)][^:]*")
_NORM_BYTES = re.compile(rb"(Batch|Instance|Group|Layer)Norm|_NormBase")
_NORMS = re.compile(r"(Batch|Instance|Group|Layer)Norm|_NormBase")
#: batch norms that have `eps` and `momentum`
_OPTIONAL = re.compile(r"\b_?(Sync)?BatchNorm([123]d)?\b")
_PLACED = frozenset({"setattr", "add_module", "register_module", "set_submodule"})
#: calls that look at a layer as a whole and copy nothing
_LOOKS = frozenset({"isinstance", "type", "hasattr", "print", "len", "id", "str", "repr", "issubclass"})
#: what a tensor is asked that is not its values
_FACTS = frozenset({"shape", "size", "device", "dtype", "requires_grad", "numel", "ndim", "dim", "is_cuda"})
_CARRIED = "carried over: the converted model is another one"
_UNTRAINED = "the model that is converted here was trained, the new layer is not"


@dataclass(frozen=True, slots=True)
class Conversion:
    """One replacement of a layer that loses something.

    Attributes:
        node: The construction of the new layer.
        function: The function that converts, by its dotted name.
        target: The class of the new layer.
        dropped: What the new layer does not get, most harmful first.
        kept: What it does get.
    """

    node: ast.Call
    function: str
    target: str
    dropped: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def message(self) -> str:
        """What a user should read."""
        lost = f"the {self.target} that replaces a layer does not get its {_listed(self.dropped)}"
        are = "is" if len(self.kept) == 1 else "are"
        return f"{lost}, though {_listed(self.kept)} {are} {_CARRIED}" if self.kept else f"{lost}: {_UNTRAINED}"


def may_convert(source: bytes) -> bool:
    """Whether the bytes of a file ask whether something is a norm, and put modules in place of others."""
    plainly = any(way in source for way in _WAYS)  # much quicker than the pattern, and mostly the answer
    return bool(plainly and _BYTES.search(source) and any(map(_NORM_BYTES.search, _TEST_BYTES.findall(source))))


def conversions(tree: ast.Module) -> Iterator[Conversion]:
    """Yield the conversions of a module that lose a part of the state of trained layers.

    That layers are trained shows in what a function copies, or in the model that the same file gives to it. One that
    copies nothing may well run on models that were just built, and is not reported.
    """
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for name, function in _functions(tree, ""):
        for branch, layer, trainable in _branches(function):
            made = _placed(function, branch)
            new = None if made is None else replacement(made, classes)
            if made is not None and new is not None and not _given_away(function, layer):
                dropped, kept = _dropped(function, new, layer, trainable)
                if dropped and (kept or runs_on_trained(tree, function.name)):
                    yield Conversion(made, name, new.name, dropped, kept)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.FunctionDef(name=name):
                yield prefix + name, child
                yield from _functions(child, f"{prefix}{name}.")
            case ast.ClassDef(name=name):
                yield from _functions(child, f"{prefix}{name}.")


def _branches(function: ast.FunctionDef) -> Iterator[tuple[ast.If, str, bool]]:
    """Yield the branches that run for a norm, the variable that holds it, and whether it is a batch norm of torch."""
    for node in ast.walk(function):
        if isinstance(node, ast.If):
            tests = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
            for layer, classes in {
                found[0]: found[1] for test in tests if (found := _tested(test)) is not None
            }.items():
                yield node, layer, _OPTIONAL.search(classes) is not None


def _tested(test: ast.expr) -> tuple[str, str] | None:
    """Return the variable that a test asks whether it is a norm, and the classes that it asks for."""
    match test:
        case (
            ast.Call(func=ast.Name("isinstance"), args=[ast.Name(layer), classes])
            | ast.Compare(
                left=ast.Call(func=ast.Name("type"), args=[ast.Name(layer)]),
                ops=[ast.Is() | ast.Eq() | ast.In()],
                comparators=[classes],
            )
        ) if _NORMS.search(ast.unparse(classes)):
            return layer, ast.unparse(classes)
        case _:
            return None


def _placed(function: ast.FunctionDef, branch: ast.If) -> ast.Call | None:
    """Return the construction whose result a branch puts in place of the layer, None where that is not certain."""
    made: dict[str, list[ast.Call]] = {}
    direct: list[ast.Call] = []
    for node in _inside(branch.body):
        match node:
            case ast.Assign(targets=[ast.Name(name)], value=ast.Call() as call):
                made.setdefault(name, []).append(call)
            case ast.Call(func=func, args=args) if _last(func) in _PLACED:
                direct += [arg for arg in args if isinstance(arg, ast.Call)]
            case ast.Assign(targets=[ast.Subscript(value=value)], value=ast.Call() as call) if (
                _last(value) == "_modules"
            ):
                direct.append(call)
            case ast.Return(value=ast.Call() as call) if _is_recursive(function):
                direct.append(call)
    names = _put_in_place(function)
    direct += [calls[0] for name, calls in made.items() if name in names and len(calls) == 1]
    return direct[0] if len(direct) == 1 and not any(len(calls) > 1 for calls in made.values()) else None


def _put_in_place(function: ast.FunctionDef) -> set[str]:
    """Return the variables that a function puts into a module, or returns to itself, which then does."""
    names: set[str] = set()
    for value in _values_placed(function):
        names |= {value.id} if isinstance(value, ast.Name) else set()
    if _is_recursive(function):
        names |= {n.value.id for n in ast.walk(function) if isinstance(n, ast.Return) and isinstance(n.value, ast.Name)}
    return names


def _is_recursive(function: ast.FunctionDef) -> bool:
    """Whether what a function returns is put into a module by itself."""
    values = list(_values_placed(function))
    names = {value.id for value in values if isinstance(value, ast.Name)}
    values += [
        node.value
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id in names for t in node.targets)
    ]
    return any(isinstance(value, ast.Call) and _last(value.func) == function.name for value in values)


def _values_placed(function: ast.FunctionDef) -> Iterator[ast.expr]:
    """Yield what a function puts into a module under a name."""
    for node in ast.walk(function):
        match node:
            case ast.Call(func=func, args=[*_, value]) if _last(func) in _PLACED:
                yield value
            case ast.Assign(targets=[ast.Subscript(value=owner)], value=value) if _last(owner) == "_modules":
                yield value


def _given_away(function: ast.FunctionDef, layer: str) -> bool:
    """Whether the old layer goes into a call as a whole, or its attributes are read by name: anything may be copied."""
    for node in ast.walk(function):
        match node:
            case ast.Call(func=func, args=args, keywords=keywords) if _last(func) not in {*_LOOKS, function.name}:
                if any(isinstance(a, ast.Name) and a.id == layer for a in [*args, *(k.value for k in keywords)]):
                    return True
            case ast.Attribute(
                value=ast.Name(id), attr="__dict__" | "named_parameters" | "named_buffers" | "parameters"
            ):
                if id == layer:
                    return True
    return False


def _dropped(
    function: ast.FunctionDef, new: Replacement, layer: str, optional: bool
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a new layer does not get of the old one, and what it gets."""
    read = _read(function, layer)
    kept = new.state if "state_dict" in read else tuple(each for each in new.state if each in read)
    lost = [each for each in new.state if each not in kept]
    if optional and kept:
        lost += [each for each in new.defaults if each not in read]
    return tuple(lost), kept


def _read(function: ast.FunctionDef, layer: str) -> set[str]:
    """Return the attributes of a layer that a function reads, but for those it only asks for a shape or a device."""
    asked = {
        id(node.value)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in _FACTS and isinstance(node.value, ast.Attribute)
    } | {
        id(node.left)
        for node in ast.walk(function)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Is | ast.IsNot)
    }
    return {
        node.attr
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == layer
        and isinstance(node.ctx, ast.Load)
        and id(node) not in asked
    }


def _inside(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from ast.walk(statement)


def _listed(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _last(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
