"""What the text of a class says of its attributes: parameters, buffers, literal constants, methods."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from bnlint.flow.layers import DECLARED
from bnlint.source.declared import declared
from bnlint.source.names import CONSTANTS, dotted, literal
from bnlint.source.values import Class, Member, Scope
from bnlint.vocabulary import Meaning, Word

_NATIVE_PARAMETERS = frozenset({"weight", "bias"})
#: an attribute that starts as one of these is state, like a buffer
_CONSTANT_TENSORS = frozenset({"zeros", "ones", "full", "zeros_like", "ones_like", "tensor"})
#: what torch's own layers keep
NATIVE_BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


def describe(node: cst.ClassDef, scope: Scope) -> Class:
    """Describe one class; bases that the scope knows, of other files too, lend it their members."""
    base: Class | None = None
    parameters: set[str] = set()
    buffers: set[str] = set()
    literals: dict[str, object] = {}
    bases: set[str] = set()
    for argument in node.bases:
        known = scope.value(dotted(argument.value))
        name = last_name(argument.value)
        bases |= {name} | (known.bases if isinstance(known, Class) else frozenset())
        if isinstance(known, Class):
            base = base or known
        elif isinstance(known, Word) and known.meaning is Meaning.NORM:
            bases.add(DECLARED)
            parameters |= _NATIVE_PARAMETERS
            buffers |= NATIVE_BUFFERS
        elif name.endswith("Norm") or "BatchNorm" in name or "InstanceNorm" in name:
            parameters |= _NATIVE_PARAMETERS
            buffers |= NATIVE_BUFFERS
    own = scope.defined(node.name.value, "")
    if own is not None and own.meaning is Meaning.NORM:
        bases.add(DECLARED)
    methods = dict(base.methods) if base else {}
    words = dict(base.words) if base else {}
    members = dict(base.members) if base else {}
    fields = list(base.fields) if base else []
    if base:
        parameters |= base.parameters
        buffers |= base.buffers
        literals |= base.literals
    made: dict[str, str] = {}
    for item in _statements(node.body):
        match item:
            case cst.FunctionDef():
                methods[item.name.value] = item
                words.pop(item.name.value, None)
                scope.homes[item] = scope
                for assignment in _assignments(item):
                    _attribute(assignment, parameters, buffers, literals)
                    _member(assignment, made)
            case cst.AnnAssign(target=cst.Name(value=name)):
                fields.append(name)
            case cst.Assign(targets=[cst.AssignTarget(target=cst.Name(value=name))], value=value):
                _literal(name, value, literals)
    members |= {name: Member(path, scope) for name, path in made.items()}
    words |= {name: word for name in (*methods, "apply") if (word := scope.defined(node.name.value, name)) is not None}
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
        words,
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


def _assignments(function: cst.FunctionDef) -> Iterator[cst.CSTNode]:
    """Yield the assignments to attributes in a function, and the calls that are statements of their own."""
    todo: list[cst.CSTNode] = [function.body]
    while todo:
        match todo.pop():
            case cst.Assign() | cst.AnnAssign() | cst.Call() as found:
                yield found
            case cst.Expr(value=value):
                todo.append(value)
            case cst.If(body=body, orelse=orelse):
                todo += [body] if orelse is None else [orelse, body]
            case cst.SimpleStatementLine(body=parts) | cst.SimpleStatementSuite(body=parts):
                todo += reversed(parts)
            case cst.IndentedBlock(body=statements):
                todo += reversed(statements)
            case cst.BaseCompoundStatement() | cst.Else() | cst.Finally() | cst.ExceptHandler() as block:
                todo += reversed(block.children)
            case _:
                continue


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
            made = dotted(value.func) if isinstance(value, cst.Call) else ""
            members[name] = made if members.get(name, made) == made else ""
        case _:
            return


def _literal(name: str, value: cst.BaseExpression, literals: dict[str, object]) -> None:
    if isinstance(value, (cst.Integer, cst.Float)):
        literals[name] = literal(value.value)
    elif isinstance(value, cst.Name) and value.value in CONSTANTS:
        literals[name] = CONSTANTS[value.value]
    else:
        literals.pop(name, None)
