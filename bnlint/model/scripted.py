"""The operations of TorchScript's IR that may be run one by one, and what each is in Python."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: what a call of a method becomes, so that functions can be inlined and methods not
METHOD = "bnlint::method"
#: operators that read or write files
_FILES = frozenset({"aten::save", "aten::from_file", "aten::_save", "aten::load", "aten::warn"})


class Unsupported(Exception):
    """A node that is not run one by one."""


def inlined(graph: Any) -> Any:
    """Return a copy of a graph with the functions that it calls inlined; methods stay calls, of kind `METHOD`."""
    copy = graph.copy()
    _protect(copy, copy)
    torch._C._jit_pass_inline(copy)
    return copy


def _protect(block: Any, graph: Any) -> None:
    for node in list(block.nodes()):
        for inner in node.blocks():
            _protect(inner, graph)
        if node.kind() == "prim::CallMethod":
            call = graph.create(METHOD, list(node.inputs()), node.outputsSize())
            call.s_("name", node.s("name"))
            call.copyMetadata(node)
            call.insertBefore(node)
            for old, new in zip(node.outputs(), call.outputs(), strict=True):
                new.setType(old.type())
            node.replaceAllUsesWith(call)
            node.destroy()


def operator_of(node: Any) -> Callable[..., Any]:
    """Return torch's operator for a node.

    Raises:
        Unsupported: It is none of torch's own, or one that touches a file.
    """
    kind = node.kind()
    home, _, name = kind.partition("::")
    if home != "aten" or kind in _FILES or not node.schema() or node.schema() == "(no schema)":
        raise Unsupported(kind)
    schema = torch._C.parse_schema(node.schema())
    overload = getattr(getattr(torch.ops.aten, name), schema.overload_name or "default")
    names = [argument.name if argument.kwarg_only else None for argument in schema.arguments]
    plain = _PLAIN.get(name)

    def run(*args: Any) -> Any:
        if plain is not None and not any(isinstance(arg, Tensor) for arg in args):
            return plain(*args)
        positional = [arg for arg, keyword in zip(args, names, strict=True) if keyword is None]
        keywords = {keyword: arg for arg, keyword in zip(args, names, strict=True) if keyword is not None}
        return overload(*positional, **keywords)

    return run


def require_known(node: Any) -> None:
    """Make sure that an object that a node makes is one of a known class.

    Raises:
        Unsupported: It is of another class.
    """
    if node.kind() == "prim::CreateObject" and _context_of(node) is None:
        raise Unsupported(node.output().type().str())


def _context_of(node: Any) -> Any:
    return _CONTEXTS.get(node.output().type().str())


def _raise(message: str, *_: Any) -> None:
    raise RuntimeError(message)


def _dtype(number: Any) -> torch.dtype | None:
    """Return the type that the IR has a number for."""
    if not isinstance(number, int):
        return number  # type: ignore[no-any-return]
    return torch.ops.aten.empty.memory_format([0], dtype=number).dtype  # type: ignore[no-any-return]


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


#: operators on plain values, which torch runs for TorchScript alone
_PLAIN: dict[str, Callable[..., Any]] = {
    **{name: getattr(operator, name) for name in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge", "neg")},
    "div": operator.truediv,
    "floordiv": operator.floordiv,
    "remainder": operator.mod,
    "pow": operator.pow,
    "floor": lambda value: int(value // 1),
    "sqrt": lambda value: value**0.5,
    "len": len,
    "append": _append,
    "__getitem__": operator.getitem,
    "__contains__": operator.contains,
    "__is__": operator.is_,
    "__isnot__": operator.is_not,
    "__not__": operator.not_,
    "__and__": operator.and_,
    "__or__": operator.or_,
    "format": lambda text, *values: text.replace("{}", "%s") % values,
    "Int": int,
    "Float": float,
    "Bool": bool,
    "str": str,
    "list": list,
    "slice": lambda values, start, end, step: values[start:end:step],
    "warn": lambda *_: None,
}

#: operations that Python spells in a way that a recorder knows
OPERATIONS: dict[str, Callable[..., Any]] = {
    "aten::detach": Tensor.detach,
    "aten::detach_": Tensor.detach_,
    "prim::data": lambda tensor: tensor.data,
    "aten::item": Tensor.item,
    "aten::Float": float,
    "aten::Int": int,
    "aten::Bool": bool,
    "aten::FloatImplicit": float,
    "aten::IntImplicit": int,
    "aten::tensor": lambda data, dtype, device, _: torch.tensor(data, dtype=_dtype(dtype), device=device),
    "aten::as_tensor": lambda data, dtype, device: torch.as_tensor(data, dtype=_dtype(dtype), device=device),
    "aten::len": len,
    "aten::append": _append,
    "aten::__getitem__": operator.getitem,
    "aten::__is__": operator.is_,
    "aten::__isnot__": operator.is_not,
    "aten::__not__": operator.not_,
    "aten::__contains__": operator.contains,
    "aten::format": _PLAIN["format"],
    "aten::warn": _PLAIN["warn"],
    "aten::str": str,
    "aten::size": lambda tensor, dim=None: list(tensor.shape) if dim is None else tensor.shape[dim],
    "aten::dim": Tensor.dim,
    "aten::grad_mode": lambda *_: None,
    "prim::NumToTensor": lambda value: value,
    "prim::dtype": lambda tensor: tensor.dtype,
    "prim::device": lambda tensor: tensor.device,
    "prim::layout": lambda tensor: tensor.layout,
    "prim::is_cuda": lambda tensor: tensor.is_cuda,
    "prim::requires_grad": lambda tensor: tensor.requires_grad,
    "prim::min": min,
    "prim::max": max,
    "prim::Print": lambda *_: None,
    "prim::RaiseException": _raise,
}

#: the contexts that TorchScript makes as objects
_CONTEXTS: dict[str, Callable[[], Any]] = {
    "__torch__.torch.autograd.grad_mode.no_grad": torch.no_grad,
    "__torch__.torch.autograd.grad_mode.enable_grad": torch.enable_grad,
}

#: nodes that put values together or take them apart
VALUES: dict[str, Callable[[list[Any], Any], list[Any]]] = {
    "prim::ListConstruct": lambda args, _: [list(args)],
    "prim::TupleConstruct": lambda args, _: [tuple(args)],
    "prim::DictConstruct": lambda args, _: [dict(zip(args[::2], args[1::2], strict=True))],
    "prim::TupleUnpack": lambda args, _: list(args[0]),
    "prim::ListUnpack": lambda args, _: list(args[0]),
    "prim::TupleIndex": lambda args, _: [args[0][args[1]]],
    "prim::unchecked_cast": lambda args, _: [args[0]],
    "prim::CreateObject": lambda _, node: [_context_of(node)()],
    "prim::Enter": lambda args, _: [args[0].__enter__()],
    "prim::Exit": lambda args, _: [args[0].__exit__(None, None, None)],
    "prim::Uninitialized": lambda _, __: [None],
    "prim::ImplicitTensorToNum": lambda args, _: [args[0].item()],
}
