"""Take statistics out of a block or function that runs without gradients; updates of running statistics stay in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source.lower import Parsed
from bnlint.source.text import SourceText
from bnlint.source.unstop import nodes, whole_lines


def unwrapped(
    text: SourceText, parsed: Parsed, region: SourceLocation, updates: set[SourceLocation]
) -> list[Edit] | None:
    """Return the edits that make a region record gradients.

    A `with` block is split: statements that write into a buffer keep a block of their own, in the same order, all
    others move out. A decorator goes if nothing under it writes into a buffer.

    Args:
        text: The file.
        parsed: Its syntax tree.
        region: The `torch.no_grad()` of a `with` line, or a decorator.
        updates: Where values are written into buffers.

    Returns:
        None for a region that cannot be taken apart (a call of `set_grad_enabled`, a `with` of several items).
    """
    for node in nodes(parsed.module):
        if isinstance(node, cst.With) and any(parsed.locate(item) == region for item in node.items):
            return _split(text, parsed, node, updates) if len(node.items) == 1 else None
        if isinstance(node, cst.FunctionDef):
            for decorator in node.decorators:
                if parsed.locate(decorator) == region:
                    inside = any(_within(update, parsed.locate(node.body)) for update in updates)
                    return None if inside else [Edit(whole_lines(text, region), "")]
    return None


def _split(text: SourceText, parsed: Parsed, node: cst.With, updates: set[SourceLocation]) -> list[Edit] | None:
    if not isinstance(node.body, cst.IndentedBlock):
        return _one_line(parsed, node, updates)
    whole = whole_lines(text, parsed.locate(node))
    header_end = parsed.locate(node.items[-1]).end_line
    header = "".join(_lines(text, whole.line, header_end))
    indent = _indent(header)
    inner = _indent("".join(_lines(text, parsed.locate(node.body.body[0]).line, whole.end_line - 1)))
    fixed = _inside_strings(parsed, node.body)
    pieces: list[str] = []
    in_block = False
    for first, last, stays in _runs(parsed, header_end, node.body.body, updates):
        lines = _lines(text, first, last)
        if stays:
            pieces += lines if in_block else [header, *lines]
        else:
            pieces += [
                indent + line[len(inner) :] if line.startswith(inner) and number not in fixed else line
                for number, line in enumerate(lines, first)
            ]
        in_block = stays
    return [Edit(whole, "".join(pieces))]


def _one_line(parsed: Parsed, node: cst.With, updates: set[SourceLocation]) -> list[Edit] | None:
    """Return the edit that leaves of `with torch.no_grad(): m = x.mean()` the statement alone."""
    if any(_within(update, parsed.locate(node)) for update in updates):
        return None
    start, first = parsed.locate(node), parsed.locate(node.body.body[0])
    return [Edit(SourceLocation(start.path, start.line, start.column, first.line, first.column), "")]


def _inside_strings(parsed: Parsed, body: cst.CSTNode) -> set[int]:
    """Return the lines that start inside a string: their indentation is part of its value."""
    strings = [parsed.locate(n) for n in nodes(body) if isinstance(n, (cst.SimpleString, cst.FormattedString))]
    return {line for where in strings for line in range(where.line + 1, where.end_line + 1)}


def _runs(
    parsed: Parsed, header_end: int, body: Sequence[cst.BaseStatement], updates: set[SourceLocation]
) -> Iterator[tuple[int, int, bool]]:
    """Yield for each statement its first line (comments above it included), its last, and whether it must stay."""
    previous = header_end
    for statement in body:
        where = parsed.locate(statement)
        yield previous + 1, where.end_line, any(_within(update, where) for update in updates)
        previous = where.end_line


def _within(inner: SourceLocation, outer: SourceLocation) -> bool:
    start, end = (inner.line, inner.column), (inner.end_line, inner.end_column)
    return (outer.line, outer.column) <= start and end <= (outer.end_line, outer.end_column)


def _lines(text: SourceText, first: int, last: int) -> list[str]:
    return [text.text[text.starts[n - 1] : text.starts[n]] for n in range(first, last + 1)]


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]
