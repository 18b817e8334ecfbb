"""Take one stop out of the text: the end of a chain, the function around an expression, a statement of its own."""

from __future__ import annotations

import re
from bisect import bisect
from typing import cast

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import Tree, last_name, of
from bnlint.source.wrappers import wrapped

#: functions of plain numbers that tensors have as methods
POINTWISE = frozenset({"sqrt", "exp", "log"})
#: functions that stop a gradient and otherwise give back what they get
_FUNCTIONS = POINTWISE | {"detach", "float", "tensor", "as_tensor", "asarray", "new_tensor", "from_numpy", "Variable"}
STOPPING = _FUNCTIONS | {"item", "tolist", "numpy"}
_LAST_DOT = re.compile(r"\.\s*\w+\s*(\([^#]*\))?\Z")
#: expressions that need no parentheses before a dot, or as an operand
ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript)
#: expressions that need them almost everywhere
_LOOSEST = (cst.NamedExpr, cst.Lambda, cst.GeneratorExp, cst.Yield)
#: where an expression of operators needs none
_TAKES_ALL = (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Return, cst.Expr, cst.Arg)


def without_suffix(
    text: SourceText, parsed: Parsed, location: SourceLocation, replacement: str = ""
) -> list[Edit] | None:
    """Return the edits that remove or replace `.detach()` or `.data` behind an expression.

    A `y.detach_()` that is a statement of its own goes as a whole. Returns None where a comment would be lost.
    """
    for statement in of(parsed.module, cst.Expr):
        if _detaches(parsed, statement, location):
            line = cast(cst.SimpleStatementLine | cst.SimpleStatementSuite, Tree(parsed.module).parent(statement))
            position = next(number for number, each in enumerate(line.body) if each is statement)
            return [_without_statement(text, parsed, line, position)]
    suffix = _from_dot(text, location)
    return None if suffix is None else [Edit(suffix, replacement)]


def without_function(
    text: SourceText, parsed: Parsed, location: SourceLocation, *, number: bool = False
) -> list[Edit] | None:
    """Return the edits that make `torch.detach(m)` an `m`, and `math.sqrt(v)` a `v.sqrt()`.

    Args:
        text: The file.
        parsed: Its syntax tree.
        location: The call.
        number: Whether its argument is made of plain numbers.

    Returns:
        None where that would lose a comment or is another call.
    """
    found = call_at(parsed, location)
    if found is None:
        return None
    call, parent = found
    if last_name(call.func) in POINTWISE:
        return as_method(text, parsed, call)
    kept = wrapped(call, number=number)
    return None if kept is None else _peeled(text, parsed, call, parent, kept)


def without_call(text: SourceText, parsed: Parsed, location: SourceLocation) -> list[Edit] | None:
    """Return the edits that leave of a call its one argument; None where it has others, or a comment would be lost."""
    call = next((each for each in of(parsed.module, cst.Call) if parsed.locate(each) == location), None)
    if call is None or len(call.args) != 1 or call.args[0].star or call.args[0].keyword is not None:
        return None
    parent = Tree(parsed.module).parent(call)
    return None if parent is None else _peeled(text, parsed, call, parent, (call.args[0].value, ""))


def call_at(parsed: Parsed, location: SourceLocation) -> tuple[cst.Call, cst.CSTNode] | None:
    """Return the call of a stopping function at a place, and what stands around it."""
    for call in of(parsed.module, cst.Call):
        parent = Tree(parsed.module).parent(call)
        if last_name(call.func) in _FUNCTIONS and parsed.locate(call) == location and parent is not None:
            return call, parent
    return None


def stopped_at(parsed: Parsed, location: SourceLocation) -> cst.Call | None:
    """Return the call that ends in a stop: `x.mean().item()` for the place of its `.item()`, or of itself."""
    end = location.end_line, location.end_column
    for call in of(parsed.module, cst.Call):
        if last_name(call.func) in STOPPING:
            where = parsed.locate(call)
            if (where.end_line, where.end_column) == end:
                return cast(cst.Call, call)
    return None


def as_method(text: SourceText, parsed: Parsed, call: cst.Call) -> list[Edit] | None:
    """Return the edits that make `math.sqrt(v)` a `v.sqrt()`."""
    if len(call.args) != 1 or call.args[0].star or call.args[0].keyword is not None:
        return None
    return _peeled(text, parsed, call, call, (call.args[0].value, f".{last_name(call.func)}()"))


def _peeled(
    text: SourceText, parsed: Parsed, call: cst.Call, parent: cst.CSTNode, kept: tuple[cst.BaseExpression, str]
) -> list[Edit] | None:
    """Return the edits that leave of a call one of its arguments, and put a suffix behind that."""
    value, suffix = kept
    whole, inside = parsed.locate(call), _with_parentheses(parsed, value)
    head = SourceLocation(whole.path, whole.line, whole.column, inside.line, inside.column)
    tail = SourceLocation(whole.path, inside.end_line, inside.end_column, whole.end_line, whole.end_column)
    if "#" in text.at(head) + text.at(tail):
        return None
    over_lines = inside.line != inside.end_line
    takes_all = isinstance(parent, _TAKES_ALL) and not suffix
    binds_loosely = not (isinstance(value, ATOMS) or takes_all) or isinstance(value, _LOOSEST)
    if (over_lines or binds_loosely) and not value.lpar and (suffix or not call.lpar):
        return [Edit(head, "("), Edit(tail, f"){suffix}")]
    return [Edit(head, ""), Edit(tail, suffix)]


def whole_lines(text: SourceText, location: SourceLocation) -> SourceLocation:
    """Widen a location to the lines that it stands on, the last newline included."""
    last = min(location.end_line + 1, len(text.starts))
    return SourceLocation(location.path, location.line, 1, last, 1)


def _with_parentheses(parsed: Parsed, node: cst.BaseExpression) -> SourceLocation:
    first = parsed.locate(node.lpar[0] if node.lpar else node)
    last = parsed.locate(node.rpar[-1] if node.rpar else node)
    return SourceLocation(first.path, first.line, first.column, last.end_line, last.end_column)


def _detaches(parsed: Parsed, statement: cst.Expr, location: SourceLocation) -> bool:
    """Whether a statement is `y.detach_()` and the location its `.detach_()`."""
    call = statement.value
    if not isinstance(call, cst.Call) or not isinstance(call.func, cst.Attribute) or call.func.attr.value != "detach_":
        return False
    where = parsed.locate(call)
    return (where.end_line, where.end_column) == (location.end_line, location.end_column)


def _without_statement(
    text: SourceText, parsed: Parsed, line: cst.SimpleStatementLine | cst.SimpleStatementSuite, position: int
) -> Edit:
    where = parsed.locate(line.body[position])
    path = where.path
    if position:
        before = parsed.locate(line.body[position - 1])
        return Edit(SourceLocation(path, before.end_line, before.end_column, where.end_line, where.end_column), "")
    if len(line.body) > 1:
        after = parsed.locate(line.body[1])
        return Edit(SourceLocation(path, where.line, where.column, after.line, after.column), "")
    block = Tree(parsed.module).parent(line)
    if isinstance(block, (cst.IndentedBlock, cst.Module)) and any(not _only_detaches(each) for each in block.body):
        return Edit(whole_lines(text, where), "")
    return Edit(where, "pass")


def _only_detaches(statement: cst.CSTNode) -> bool:
    """Whether a fix may take the whole statement away."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call(func=cst.Attribute(attr=cst.Name("detach_"))))]):
            return True
        case _:
            return False


def _from_dot(text: SourceText, location: SourceLocation) -> SourceLocation | None:
    """Keep a comment that stands between the statistic and its `.detach()`; None where one stands inside of that.

    None as well where the stop is no suffix: `held.data.copy_(m)` writes `m`, and is more than its stop.
    """
    content = text.at(location)
    if "#" not in content:
        return location if content.lstrip("\\ \t\r\n").startswith(".") else None
    found = _LAST_DOT.search(content)
    if found is None:
        return None
    offset = text.span(location)[0] + found.start()
    line = bisect(text.starts, offset)
    column = offset - text.starts[line - 1] + 1
    return SourceLocation(location.path, line, column, location.end_line, location.end_column)
