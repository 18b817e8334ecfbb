"""What the imports and constants of a module bind."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping

import libcst as cst

from bnlint.source.values import Class, Literal, Name, Value

#: names that stand for one value
CONSTANTS: dict[str, object] = {"True": True, "False": False, "None": None}


@functools.lru_cache(maxsize=10_000)
def literal(text: str) -> object:
    """Return what a number or string means; the same few stand in a file over and over.

    Raises:
        ValueError: It is no literal.
        SyntaxError: It is no expression.
    """
    return ast.literal_eval(text)


def module_names(module: cst.Module) -> dict[str, Value]:
    """Return the names that the imports and the numeric constants at the top level of a module bind."""
    names: dict[str, Value] = {}
    for statement in module.body:
        for part in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
            names |= imported(part)
            match part:
                case cst.Assign(
                    targets=[cst.AssignTarget(target=cst.Name(value=name))], value=cst.Integer() | cst.Float() as value
                ):
                    names[name] = Literal(value.evaluated_value)
                case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=cst.Call() as call):
                    if (fields := _fields(call, names)) is not None:
                        names[name] = Class(name, {}, frozenset(), frozenset(), {}, fields)
    return names


def _fields(call: cst.Call, names: Mapping[str, Value]) -> tuple[str, ...] | None:
    """Return the fields of `namedtuple("Stats", "mean var")`, or of a list of their names."""
    callee = names.get(dotted(call.func).split(".")[0])
    if not isinstance(callee, Name) or not f"{callee.path}.{dotted(call.func)}".endswith("namedtuple"):
        return None
    match call.args:
        case [_, cst.Arg(value=cst.SimpleString(evaluated_value=str(text)))]:
            return tuple(text.replace(",", " ").split())
        case [_, cst.Arg(value=cst.List(elements=elements) | cst.Tuple(elements=elements))]:
            values = [e.value.evaluated_value for e in elements if isinstance(e.value, cst.SimpleString)]
            return tuple(value for value in values if isinstance(value, str))
        case _:
            return None


def imported(statement: cst.CSTNode) -> dict[str, Value]:
    """Return what an import statement binds."""
    match statement:
        case cst.Import(names=names):
            found: dict[str, Value] = {}
            for alias in names:
                path = dotted(alias.name)
                if isinstance(alias.asname, cst.AsName) and isinstance(alias.asname.name, cst.Name):
                    found[alias.asname.name.value] = Name(path)
                else:
                    found[path.split(".")[0]] = Name(path.split(".")[0])
            return found
        case cst.ImportFrom(module=source, names=names) if not isinstance(names, cst.ImportStar):
            prefix = "." * len(statement.relative) + (dotted(source) if source is not None else "")
            prefix += "." if source is not None else ""  # `from . import a` is `.a`
            return {
                (a.asname.name.value if a.asname and isinstance(a.asname.name, cst.Name) else dotted(a.name)): Name(
                    f"{prefix}{dotted(a.name)}"
                )
                for a in names
            }
        case _:
            return {}


def starred(statement: cst.CSTNode) -> str | None:
    """Return the path of a `from … import *`, None for any other statement."""
    match statement:
        case cst.SimpleStatementLine(
            body=[cst.ImportFrom(module=source, names=cst.ImportStar(), relative=relative), *_]
        ):
            return "." * len(relative) + (dotted(source) if source is not None else "")
        case _:
            return None


def dotted(node: cst.BaseExpression) -> str:
    """Return a dotted name as it is spelled, with a "?" for what is no name."""
    match node:
        case cst.Attribute(value=value, attr=cst.Name(value=name)):
            return f"{dotted(value)}.{name}"
        case cst.Name(value=name):
            return name
        case _:
            return "?"
