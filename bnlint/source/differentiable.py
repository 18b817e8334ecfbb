"""Write a collective in its differentiable form: `mean = torch.distributed.nn.functional.all_reduce(mean)`."""

from __future__ import annotations

from typing import cast

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source import from_libcst
from bnlint.source.collectives import written_argument
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import last_name, of

_MODULE = "torch.distributed.nn"
#: reductions whose backward pass is the same reduction of the gradients
_LINEAR = frozenset({"SUM", "AVG"})


def differentiable(text: SourceText, parsed: Parsed, location: SourceLocation) -> list[Edit] | None:
    """Return the edits for a statement `dist.all_reduce(mean, …)`, None for any other collective or place."""
    for statement in of(parsed.module, cst.Expr):
        if isinstance(statement.value, cst.Call) and parsed.locate(statement.value) == location:
            return _rewritten(text, parsed, statement.value)
    return None


def _rewritten(text: SourceText, parsed: Parsed, call: cst.Call) -> list[Edit] | None:
    written = written_argument(from_libcst.expression(call))
    target = None if written is None else cast(cst.BaseExpression, written.place)
    options = {a.keyword.value: a.value for a in call.args if a.keyword is not None}
    rest = [argument.value for argument in call.args[1:] if argument.keyword is None]
    if last_name(call.func) != "all_reduce" or target is None or len(rest) > 2 or any(a.star for a in call.args):
        return None
    operation = rest[0] if rest else options.get("op")
    if not options.keys() <= {"tensor", "op", "group"} or (operation and last_name(operation) not in _LINEAR):
        return None
    whole, func, name = parsed.locate(call), parsed.locate(call.func), text.at(parsed.locate(target))
    given = next(a.value for a in call.args if a.keyword is None or a.keyword.value == "tensor")
    start = SourceLocation(whole.path, whole.line, whole.column, func.end_line, func.end_column)
    argument = parsed.locate(given)
    return [
        *_import(text, parsed, whole),
        Edit(start, f"{name} = {_MODULE}.functional.all_reduce"),
        *([] if text.at(argument) == name else [Edit(argument, name)]),
    ]


def _import(text: SourceText, parsed: Parsed, use: SourceLocation) -> list[Edit]:
    """Return the edit that imports the module behind the last import at the top level and above its use."""
    last = 0
    for statement in parsed.module.body:
        for part in statement.body if isinstance(statement, cst.SimpleStatementLine) else ():
            if isinstance(part, cst.Import | cst.ImportFrom):
                if text.at(parsed.locate(part)) == f"import {_MODULE}":
                    return []
                end = parsed.locate(part).end_line
                last = end if end < use.line else last
    line = text.text[text.starts[max(last, 1) - 1] : text.starts[max(last, 1)]]
    newline = line[len(line.rstrip("\r\n")) :] or "\n"
    return [Edit(SourceLocation(use.path, last + 1, 1, last + 1, 1), f"import {_MODULE}{newline}")]
