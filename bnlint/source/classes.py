"""What the text of a class says of its attributes: parameters, buffers, literal constants, methods."""

from __future__ import annotations

from collections.abc import Iterator

from bnlint.flow.layers import DECLARED
from bnlint.source import syntax
from bnlint.source.declared import constructed, own
from bnlint.source.names import CONSTANTS, dotted
from bnlint.source.values import Class, Member, Scope
from bnlint.vocabulary import Meaning, Word

_NATIVE_PARAMETERS = frozenset({"weight", "bias"})
#: an attribute that starts as one of these is state, like a buffer
_CONSTANT_TENSORS = frozenset({"zeros", "ones", "full", "zeros_like", "ones_like", "tensor"})
#: what torch's own layers keep
NATIVE_BUFFERS = frozenset({"running_mean", "running_var", "num_batches_tracked"})


def describe(node: syntax.ClassDef, scope: Scope) -> Class:
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
    word = scope.defined(node.name.value, "")
    if word is not None and word.meaning is Meaning.NORM:
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
    for item in node.body.body:
        match item:
            case syntax.FunctionDef():
                methods[item.name.value] = item
                words.pop(item.name.value, None)
                scope.homes[item] = scope
                for assignment in _assignments(item):
                    _attribute(assignment, parameters, buffers, literals)
                    _member(assignment, made)
            case syntax.AnnAssign(target=syntax.Name(value=name)):
                fields.append(name)
            case syntax.Assign(targets=[syntax.AssignTarget(target=syntax.Name(value=name))], value=value):
                _literal(name, value, literals)
    members |= {name: Member(path, scope) for name, path in made.items()}
    words |= {name: word for name in (*methods, "apply") if (word := scope.defined(node.name.value, name))}
    buffers |= constructed(node).plain.keys()
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
        node,
        words,
    )


def last_name(node: syntax.Expression) -> str:
    """Return the last part of a dotted name, "" for any other expression."""
    match node:
        case syntax.Name(value=name) | syntax.Attribute(attr=syntax.Name(value=name)):
            return name
        case _:
            return ""


def literal_string(node: syntax.Expression) -> str | None:
    """Return the value of a plain string literal."""
    if isinstance(node, syntax.SimpleString):
        value = node.evaluated_value
        return value if isinstance(value, str) else None
    return None


def _assignments(function: syntax.FunctionDef) -> Iterator[syntax.Node]:
    """Yield the assignments to attributes in a function, and the calls that are statements of their own."""
    todo: list[syntax.Node] = [function.body]
    while todo:
        match todo.pop():
            case syntax.Assign() | syntax.AnnAssign() | syntax.Call() as found:
                yield found
            case syntax.Expr(value=value):
                todo.append(value)
            case syntax.If(body=body, orelse=orelse):
                todo += [body] if orelse is None else [orelse, body]
            case syntax.Block(body=statements):
                todo += reversed(statements)
            case syntax.Compound() | syntax.Else() | syntax.Finally() | syntax.ExceptHandler() as block:
                todo += reversed(list(block.children))
            case _:
                continue


def _attribute(node: syntax.Node, parameters: set[str], buffers: set[str], literals: dict[str, object]) -> None:
    match node:
        case syntax.Call(func=func, args=[first, *_]):
            method, name = own(func), literal_string(first.value)
            if name is not None and method == "register_buffer":
                buffers.add(name)
            elif name is not None and method == "register_parameter":
                parameters.add(name)
        case syntax.Assign(targets=[syntax.AssignTarget(target=target)], value=value):
            name = own(target)
            if name is None:
                return
            if isinstance(value, syntax.Call) and last_name(value.func) == "Parameter":
                parameters.add(name)
            elif isinstance(value, syntax.Call) and last_name(value.func) in _CONSTANT_TENSORS:
                buffers.add(name)
            else:
                _literal(name, value, literals)
        case _:
            return


def _member(node: syntax.Node, members: dict[str, str]) -> None:
    match node:
        case (
            syntax.Assign(targets=[syntax.AssignTarget(target=target)], value=value)
            | syntax.AnnAssign(target=target, value=syntax.Expression() as value)
        ) if (name := own(target)) is not None:
            made = dotted(value.func) if isinstance(value, syntax.Call) else ""
            members[name] = made if members.get(name, made) == made else ""
        case _:
            return


def _literal(name: str, value: syntax.Expression, literals: dict[str, object]) -> None:
    if isinstance(value, (syntax.Integer, syntax.Float)):
        literals[name] = value.evaluated_value
    elif isinstance(value, syntax.Name) and value.value in CONSTANTS:
        literals[name] = CONSTANTS[value.value]
    else:
        literals.pop(name, None)
