"""What the text of a class says of its attributes: parameters, buffers, literal constants, methods."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

import libcst as cst

from bnlint.source.declared import declared
from bnlint.source.values import Class

_NATIVE_PARAMETERS = frozenset({"weight", "bias"})
#: an attribute that starts as one of these is state, like a buffer
_CONSTANT_TENSORS = frozenset({"zeros", "ones", "full", "zeros_like", "ones_like", "tensor"})
#: what torch's own layers keep
NATIVE_BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


def collect_classes(module: cst.Module) -> dict[str, Class]:
    """Describe every class at the top level of a module; a base class of the same file lends its members."""
    found: dict[str, Class] = {}
    for statement in module.body:
        if isinstance(statement, cst.ClassDef):
            found[statement.name.value] = describe(statement, found)
    return found


def describe(node: cst.ClassDef, known: Mapping[str, Class]) -> Class:
    """Describe one class, given the classes before it in the file."""
    base: Class | None = None
    parameters: set[str] = set()
    buffers: set[str] = set()
    literals: dict[str, object] = {}
    bases: set[str] = set()
    for argument in node.bases:
        name = last_name(argument.value)
        bases |= {name} | (known[name].bases if name in known else set())
        if name in known:
            base = base or known[name]
        elif name.endswith("Norm") or "BatchNorm" in name or "InstanceNorm" in name:
            parameters |= _NATIVE_PARAMETERS
            buffers |= NATIVE_BUFFERS
    methods = dict(base.methods) if base else {}
    members = dict(base.members) if base else {}
    fields = list(base.fields) if base else []
    if base:
        parameters |= base.parameters
        buffers |= base.buffers
        literals |= base.literals
    for item in _statements(node.body):
        match item:
            case cst.FunctionDef():
                methods[item.name.value] = item
                for call in _walk(item):
                    _attribute(call, parameters, buffers, literals)
                    _member(call, members)
            case cst.AnnAssign(target=cst.Name(value=name)):
                fields.append(name)
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value):
                _literal(name, value, literals)
    state = declared(node, base.declared if base else None)
    buffers |= state.plain.keys()
    return Class(
        node.name.value,
        methods,
        frozenset(parameters),
        frozenset(buffers),
        literals,
        tuple(fields),
        base,
        members,
        frozenset(bases) - {""},
        state,
    )


def last_name(node: cst.BaseExpression) -> str:
    """Return the last part of a dotted name, "" for any other expression."""
    match node:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name
        case _:
            return ""


def literal_string(node: cst.BaseExpression) -> str | None:
    """Return the value of a plain string literal."""
    if isinstance(node, cst.SimpleString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def _statements(body: cst.BaseSuite) -> Iterator[cst.CSTNode]:
    for item in body.body:
        if isinstance(item, cst.SimpleStatementLine):
            yield from item.body
        else:
            yield item


def _walk(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    todo = [node]
    while todo:
        current = todo.pop()
        if isinstance(current, (cst.Call, cst.Assign, cst.AnnAssign)):
            yield current
        todo.extend(current.children)


def _attribute(node: cst.CSTNode, parameters: set[str], buffers: set[str], literals: dict[str, object]) -> None:
    match node:
        case cst.Call(func=cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=method)), args=[first, *_]):
            name = literal_string(first.value)
            if name is not None and method == "register_buffer":
                buffers.add(name)
            elif name is not None and method == "register_parameter":
                parameters.add(name)
        case cst.Assign(
            targets=[cst.AssignTarget(target=cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)))],
            value=value,
        ):
            if isinstance(value, cst.Call) and last_name(value.func) == "Parameter":
                parameters.add(name)
            elif isinstance(value, cst.Call) and last_name(value.func) in _CONSTANT_TENSORS:
                buffers.add(name)
            else:
                _literal(name, value, literals)
        case _:
            return


def _member(node: cst.CSTNode, members: dict[str, str]) -> None:
    match node:
        case (
            cst.Assign(
                targets=[
                    cst.AssignTarget(target=cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)))
                ],
                value=value,
            )
            | cst.AnnAssign(
                target=cst.Attribute(value=cst.Name(value="self"), attr=cst.Name(value=name)),
                value=cst.BaseExpression() as value,
            )
        ):
            made = value.func.value if isinstance(value, cst.Call) and isinstance(value.func, cst.Name) else ""
            members[name] = made if members.get(name, made) == made else ""
        case _:
            return


def _literal(name: str, value: cst.BaseExpression, literals: dict[str, object]) -> None:
    text = cst.Module(body=[]).code_for_node(value) if isinstance(value, (cst.Integer, cst.Float, cst.Name)) else ""
    try:
        literals[name] = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        literals.pop(name, None)
