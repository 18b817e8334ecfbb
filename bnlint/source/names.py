"""What the imports and constants of a module bind."""

from __future__ import annotations

from collections.abc import Mapping

from bnlint.source import syntax
from bnlint.source.values import Class, Literal, Name, Value

#: names that stand for one value
CONSTANTS: dict[str, object] = {"True": True, "False": False, "None": None}


def module_names(module: syntax.Module) -> dict[str, Value]:
    """Return the names that the imports and the numeric constants at the top level of a module bind."""
    names: dict[str, Value] = {}
    for statement in module.body:
        names |= imported(statement)
        match statement:
            case syntax.Assign(
                targets=[syntax.AssignTarget(target=syntax.Name(value=name))],
                value=syntax.Integer() | syntax.Float() as value,
            ):
                names[name] = Literal(value.evaluated_value)
            case syntax.Assign(
                targets=[syntax.AssignTarget(target=syntax.Name(value=name))], value=syntax.Call() as call
            ):
                if (fields := _fields(call, names)) is not None:
                    names[name] = Class(name, {}, frozenset(), frozenset(), {}, fields)
    return names


def _fields(call: syntax.Call, names: Mapping[str, Value]) -> tuple[str, ...] | None:
    """Return the fields of `namedtuple("Stats", "mean var")`, or of a list of their names."""
    callee = names.get(dotted(call.func).split(".")[0])
    if not isinstance(callee, Name) or not f"{callee.path}.{dotted(call.func)}".endswith("namedtuple"):
        return None
    match call.args:
        case [_, syntax.Arg(value=syntax.SimpleString(evaluated_value=str(text)))]:
            return tuple(text.replace(",", " ").split())
        case [_, syntax.Arg(value=syntax.List(elements=elements) | syntax.Tuple(elements=elements))]:
            values = [e.value.evaluated_value for e in elements if isinstance(e.value, syntax.SimpleString)]
            return tuple(value for value in values if isinstance(value, str))
        case _:
            return None


def imported(statement: syntax.Node) -> dict[str, Value]:
    """Return what an import statement binds."""
    match statement:
        case syntax.Import(names=names):
            found: dict[str, Value] = {}
            for alias in names:
                path = dotted(alias.name)
                if isinstance(alias.asname, syntax.AsName) and isinstance(alias.asname.name, syntax.Name):
                    found[alias.asname.name.value] = Name(path)
                else:
                    found[path.split(".")[0]] = Name(path.split(".")[0])
            return found
        case syntax.ImportFrom(module=source, names=names) if not isinstance(names, syntax.ImportStar):
            prefix = "." * len(statement.relative) + (dotted(source) if source is not None else "")
            prefix += "." if source is not None else ""  # `from . import a` is `.a`
            return {
                (a.asname.name.value if a.asname and isinstance(a.asname.name, syntax.Name) else dotted(a.name)): Name(
                    f"{prefix}{dotted(a.name)}"
                )
                for a in names
            }
        case _:
            return {}


def starred(statement: syntax.Node) -> str | None:
    """Return the path of a `from … import *`, None for any other statement."""
    match statement:
        case syntax.ImportFrom(module=source, names=syntax.ImportStar(), relative=relative):
            return "." * len(relative) + (dotted(source) if source is not None else "")
        case _:
            return None


def dotted(node: syntax.Expression) -> str:
    """Return a dotted name as it is spelled, with a "?" for what is no name."""
    match node:
        case syntax.Attribute(value=value, attr=syntax.Name(value=name)):
            return f"{dotted(value)}.{name}"
        case syntax.Name(value=name):
            return name
        case _:
            return "?"
