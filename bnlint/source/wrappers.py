"""Calls that copy a tensor out of autograd: `torch.tensor(m)`, `x.new_tensor(m)`, `Variable(m)` and their kin."""

from __future__ import annotations

import libcst as cst

from bnlint.flow.ops import REDUCTIONS, STOPS
from bnlint.source.tree import last_name

#: methods that keep type and device
_KEEPING = REDUCTIONS | frozenset(STOPS) | frozenset({"view", "reshape", "unsqueeze", "squeeze", "sqrt", "flatten"})


def wrapped(call: cst.Call, *, number: bool) -> tuple[cst.BaseExpression, str] | None:
    """Return the argument that a call gives back, and what to put behind it to keep its type and device.

    Args:
        call: The call.
        number: Whether the argument is a number or a list of numbers, which take the default type.

    Returns:
        None where that cannot be told.
    """
    name = last_name(call.func)
    if not call.args or any(argument.star for argument in call.args):
        return None
    value, rest = call.args[0].value, call.args[1:]
    options = {argument.keyword.value: argument.value for argument in rest if argument.keyword is not None}
    if len(options) < len(rest) or not options.keys() <= {"dtype", "device", "requires_grad"}:
        return None
    options.pop("requires_grad", None)
    if name in {"detach", "float", "from_numpy", "Variable"}:
        return None if options else (value, "")
    suffix = _kept(call, value, options, number)
    return None if suffix is None else (value, suffix)


def _kept(
    call: cst.Call, value: cst.BaseExpression, options: dict[str, cst.BaseExpression], number: bool
) -> str | None:
    module = cst.Module(body=[])
    base = module.code_for_node(call.func.value) if isinstance(call.func, cst.Attribute) else None
    if last_name(call.func) == "new_tensor" and not options:
        return "" if base is None or _like(value, base) else f".to({base})"
    if last_name(call.func) != "new_tensor" and "dtype" not in options and number:
        if base is None:
            return None
        given = f", device={module.code_for_node(options['device'])}" if "device" in options else ""
        return f".to(dtype={base}.get_default_dtype(){given})" if given else f".to({base}.get_default_dtype())"
    texts = {key: module.code_for_node(option) for key, option in options.items()}
    texts = {key: text for key, text in texts.items() if not _like(value, text.removesuffix(f".{key}"))}
    return f".to({', '.join(f'{key}={text}' for key, text in texts.items())})" if texts else ""


def _like(value: cst.BaseExpression, base: str) -> bool:
    """Whether an expression is a chain of methods on `base` that all keep its type and device."""
    match value:
        case cst.Call(func=cst.Attribute(value=inner, attr=cst.Name(value=method)), args=args):
            keeps = method in _KEEPING and not any(a.keyword is not None and a.keyword.value == "dtype" for a in args)
            return keeps and _like(inner, base)
        case cst.Attribute(value=inner, attr=cst.Name(value="data")):
            return _like(inner, base)
        case cst.Name(value=name):
            return name == base
        case _:
            return False
