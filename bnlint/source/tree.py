"""A syntax tree read upwards: what stands around an expression, and where a local name is bound and read."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libcst as cst

Scope = cst.FunctionDef | cst.Lambda


def nodes(tree: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield every node of a syntax tree."""
    if isinstance(tree, cst.Module):  # each fix in a file looks through all of it
        yield from _of_module(tree)
        return
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node.children)


@functools.lru_cache(1)
def _of_module(module: cst.Module) -> tuple[cst.CSTNode, ...]:
    found: list[cst.CSTNode] = [module]
    for body in reversed(module.children):
        found += nodes(body)
    return tuple(found)


def of(module: cst.Module, *kinds: type[cst.CSTNode]) -> Iterator[Any]:
    """Yield the nodes of a module that are of some kinds; no search goes through all the others again."""
    for kind in kinds:
        yield from _by_kind(module).get(kind, ())


@functools.lru_cache(1)
def _by_kind(module: cst.Module) -> dict[type[cst.CSTNode], list[cst.CSTNode]]:
    found: dict[type[cst.CSTNode], list[cst.CSTNode]] = {}
    for node in nodes(module):
        found.setdefault(type(node), []).append(node)
    return found


@functools.lru_cache(1)
def _parents(module: cst.Module) -> dict[int, cst.CSTNode]:
    return {id(child): node for node in nodes(module) for child in node.children}


@functools.lru_cache(1)
def _by_name(module: cst.Module) -> dict[str, list[cst.Name]]:
    found: dict[str, list[cst.Name]] = {}
    for node in of(module, cst.Name):
        found.setdefault(node.value, []).append(node)
    return found


@dataclass(frozen=True, slots=True)
class Names:
    """Where a function binds a name, and where it reads it."""

    bound: tuple[cst.Name, ...]
    read: tuple[cst.Name, ...]


class Tree:
    """The parents of every node of a module."""

    def __init__(self, module: cst.Module) -> None:
        self._parents = _parents(module)
        self._by_name = _by_name(module)

    def parent(self, node: cst.CSTNode) -> cst.CSTNode | None:
        """Return the node around a node, None for the module."""
        return self._parents.get(id(node))

    def around(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        """Yield what stands around a node, from the inside to the outside."""
        outer = self.parent(node)
        while outer is not None:
            yield outer
            outer = self.parent(outer)

    def scope(self, node: cst.CSTNode) -> Scope | None:
        """Return the innermost function around a node."""
        return next((outer for outer in self.around(node) if isinstance(outer, (cst.FunctionDef, cst.Lambda))), None)

    def names(self, scope: cst.CSTNode, name: str) -> Names:
        """Find a name in a function, nested functions included."""
        bound: list[cst.Name] = []
        read: list[cst.Name] = []
        for node in self._by_name.get(name, ()):
            if any(outer is scope for outer in self.around(node)) and not self._is_label(node):
                (bound if self.is_target(node) else read).append(node)
        return Names(tuple(bound), tuple(read))

    def is_target(self, node: cst.CSTNode) -> bool:
        """Whether an expression is assigned to rather than read; an augmented assignment does both."""
        inner = node
        for outer in self.around(node):
            match outer:
                case cst.AssignTarget() | cst.AsName() | cst.Del() | cst.Param() | cst.NameItem():
                    return not (isinstance(outer, cst.Param) and outer.default is inner)
                case cst.For() | cst.CompFor() | cst.AnnAssign() | cst.NamedExpr() | cst.AugAssign():
                    return outer.target is inner
                case cst.Tuple() | cst.List() | cst.Element() | cst.StarredElement():
                    inner = outer
                case _:
                    return False
        return False

    def _is_label(self, node: cst.Name) -> bool:
        """Whether a name is no variable: an attribute, a keyword, the name of a function."""
        match self.parent(node):
            case cst.Attribute(attr=label) | cst.Arg(keyword=label) | cst.FunctionDef(name=label):
                return label is node
            case cst.ImportAlias() | cst.ClassDef():
                return True
            case _:
                return False


def last_name(node: cst.BaseExpression) -> str:
    """Return the last part of a dotted name, "" for any other expression."""
    match node:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name
        case _:
            return ""
