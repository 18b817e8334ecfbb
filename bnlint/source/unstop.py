"""Take one stop out of the text: the end of a chain, the function around an expression, a statement of its own."""

from __future__ import annotations

from collections.abc import Iterator

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source.classes import last_name
from bnlint.source.lower import Parsed
from bnlint.source.text import SourceText

#: expressions that need no parentheses before a dot, or as an operand
ATOMS = (cst.Name, cst.Attribute, cst.Call, cst.Subscript)
#: expressions that need them almost everywhere
_LOOSEST = (cst.NamedExpr, cst.Lambda, cst.GeneratorExp, cst.Yield)
#: where an expression of operators needs none
_TAKES_ALL = (cst.Assign, cst.AnnAssign, cst.AugAssign, cst.Return, cst.Expr, cst.Arg)


def without_suffix(text: SourceText, parsed: Parsed, location: SourceLocation) -> list[Edit]:
    """Return the edits that remove `.detach()` or `.data` behind an expression.

    A `y.detach_()` that is a statement of its own goes as a whole.
    """
    for node in nodes(parsed.module):
        if isinstance(node, (cst.SimpleStatementLine, cst.SimpleStatementSuite)):
            for position, statement in enumerate(node.body):
                if isinstance(statement, cst.Expr) and _detaches(parsed, statement, location):
                    return [_without_statement(text, parsed, node, position)]
    return [Edit(_from_dot(text, location), "")]


def without_function(text: SourceText, parsed: Parsed, location: SourceLocation) -> list[Edit] | None:
    """Return the edits that make `torch.detach(m)` an `m`, None where that would lose a comment or is another call."""
    for parent in nodes(parsed.module):
        for call in parent.children:
            if isinstance(call, cst.Call) and last_name(call.func) == "detach" and parsed.locate(call) == location:
                return _without_call(text, parsed, call, parent)
    return None


def _without_call(text: SourceText, parsed: Parsed, call: cst.Call, parent: cst.CSTNode) -> list[Edit] | None:
    if len(call.args) != 1 or call.args[0].star:
        return None
    value = call.args[0].value
    whole, inside = parsed.locate(call), _with_parentheses(parsed, value)
    head = SourceLocation(whole.path, whole.line, whole.column, inside.line, inside.column)
    tail = SourceLocation(whole.path, inside.end_line, inside.end_column, whole.end_line, whole.end_column)
    if "#" in text.at(head) + text.at(tail):
        return None
    over_lines = inside.line != inside.end_line
    binds_loosely = not (isinstance(value, ATOMS) or isinstance(parent, _TAKES_ALL)) or isinstance(value, _LOOSEST)
    if (over_lines or binds_loosely) and not value.lpar and not call.lpar:
        return [Edit(head, "("), Edit(tail, ")")]
    return [Edit(head, ""), Edit(tail, "")]


def nodes(tree: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """Yield every node of a syntax tree."""
    todo = [tree]
    while todo:
        node = todo.pop()
        yield node
        todo.extend(node.children)


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
    blocks = (node for node in nodes(parsed.module) if isinstance(node, (cst.IndentedBlock, cst.Module)))
    block = next((block for block in blocks if any(each is line for each in block.body)), None)
    if block is not None and any(not _only_detaches(each) for each in block.body):
        return Edit(whole_lines(text, where), "")
    return Edit(where, "pass")


def _only_detaches(statement: cst.CSTNode) -> bool:
    """Whether a fix may take the whole statement away."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call(func=cst.Attribute(attr=cst.Name("detach_"))))]):
            return True
        case _:
            return False


def _from_dot(text: SourceText, location: SourceLocation) -> SourceLocation:
    """Keep a comment that stands between the statistic and its `.detach()` on a line of its own."""
    content = text.at(location)
    if "#" not in content:
        return location
    before = content.rpartition(".")[0]
    lines = before.count("\n")
    column = len(before) - before.rfind("\n") if lines else location.column + len(before)
    return SourceLocation(location.path, location.line + lines, column, location.end_line, location.end_column)
