"""Take statistics out of a region that runs without gradients; updates of running statistics stay in one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import libcst as cst

from bnlint.finding import Edit, SourceLocation
from bnlint.source.lines import Indented, Run, at, indent_of, inside_strings, lines, newline_of
from bnlint.source.parsed import Parsed
from bnlint.source.text import SourceText
from bnlint.source.tree import nodes, of
from bnlint.source.unstop import whole_lines

Statement = cst.BaseStatement | cst.BaseSmallStatement


class _MixedError(Exception):
    """One statement both computes a statistic and updates a buffer."""


@dataclass(frozen=True, slots=True)
class Region:
    """What makes statements run without gradients.

    Attributes:
        where: The `torch.no_grad()` of a `with` line, a decorator, or a call of `torch.set_grad_enabled`.
        updates: Where values are written into buffers.
        stopped: What is computed in it, statistics and all.
    """

    where: SourceLocation
    updates: frozenset[SourceLocation]
    stopped: frozenset[SourceLocation]


def unwrapped(text: SourceText, parsed: Parsed, region: Region) -> list[Edit] | None:
    """Return the edits that make a region record gradients.

    Statements that write into a buffer get a block of their own, in the same order; all others leave the region.

    Returns:
        None for a region that cannot be taken apart.
    """
    if any(_writes_out(call) and parsed.locate(call) in region.stopped for call in of(parsed.module, cst.Call)):
        return None
    try:
        for node in of(parsed.module, cst.With, cst.FunctionDef, cst.IndentedBlock, cst.Module):
            match node:
                case cst.With(items=items):
                    for number, item in enumerate(items):
                        if parsed.locate(item) == region.where:
                            return _With(text, parsed, region, node, number).edits()
                case cst.FunctionDef(decorators=decorators):
                    for decorator in decorators:
                        if parsed.locate(decorator) == region.where:
                            return _decorated(text, parsed, region, node, decorator)
                case cst.IndentedBlock() | cst.Module():
                    for number, statement in enumerate(node.body):
                        if _is_alone(statement) and parsed.locate(statement) == region.where:
                            return _switched(text, parsed, region, node.body[number:])
    except _MixedError:
        pass
    return None


def _writes_out(call: cst.Call) -> bool:
    """Whether a call has `out=`, which torch refuses where gradients are recorded."""
    return any(argument.keyword is not None and argument.keyword.value == "out" for argument in call.args)


@dataclass(frozen=True, slots=True)
class _With:
    text: SourceText
    parsed: Parsed
    region: Region
    node: cst.With
    number: int

    def edits(self) -> list[Edit] | None:
        items, body = self.node.items, self.node.body
        item = items[self.number]
        if item.asname is not None:
            return None
        start, first = self.parsed.locate(self.node), self.parsed.locate(body.body[0])
        if not isinstance(body, cst.IndentedBlock) and _holds(self.region.updates, start):
            return None
        if len(items) > 1:
            return self._without_item(body)
        if not isinstance(body, cst.IndentedBlock):
            return [Edit(SourceLocation(start.path, start.line, start.column, first.line, first.column), "")]
        header_end = _header_end(self.parsed, body)
        header = "".join(lines(self.text, start.line, header_end))
        inner = indent_of(self.text.text[self.text.starts[first.line - 1] :])
        runs = [*_runs(self.parsed, self.region, body.body, header_end)]
        runs.append(Run(runs[-1].last + 1, runs[-1].last + len(body.footer), False))
        gone = SourceLocation(start.path, start.line, 1, header_end + 1, 1)
        strings = inside_strings(self.parsed, body)
        moved = Indented(self.text, start.path, runs, strings, header, indent_of(header))
        return [Edit(gone, ""), *moved.dedented(inner)]

    def _without_item(self, body: cst.BaseSuite) -> list[Edit] | None:
        items = [self.parsed.locate(item) for item in self.node.items]
        own, last = items[self.number], self.number == len(items) - 1
        if last:
            before = items[self.number - 1]
            gone = SourceLocation(own.path, before.end_line, before.end_column, own.end_line, own.end_column)
        else:
            after = items[self.number + 1]
            gone = SourceLocation(own.path, own.line, own.column, after.line, after.column)
        if "#" in self.text.at(gone):
            return None
        kept = f"with {self.text.at(own)}:"
        return [Edit(gone, ""), *_wrapped(self.text, self.parsed, self.region, body, kept)]


def _decorated(
    text: SourceText, parsed: Parsed, region: Region, node: cst.FunctionDef, decorator: cst.Decorator
) -> list[Edit] | None:
    gone = Edit(whole_lines(text, region.where), "")
    if not _holds(region.updates, parsed.locate(node.body)):
        return [gone]
    if not isinstance(node.body, cst.IndentedBlock):
        return None
    called = "" if isinstance(decorator.decorator, cst.Call) else "()"
    return [
        gone,
        *_wrapped(text, parsed, region, node.body, f"with {text.at(parsed.locate(decorator.decorator))}{called}:"),
    ]


def _switched(text: SourceText, parsed: Parsed, region: Region, after: Sequence[Statement]) -> list[Edit] | None:
    """Take `torch.set_grad_enabled(False)` and the call that ends it out of a row of statements."""
    for number, statement in enumerate(after[1:], 1):
        inside = [n for n in nodes(statement) if isinstance(n, (cst.Name, cst.Attribute)) and _switches(n)]
        if not inside:
            continue
        if not _is_alone(statement):
            return None
        gone = [Edit(whole_lines(text, parsed.locate(each)), "") for each in (after[0], statement)]
        runs = _runs(parsed, region, after[1:number], region.where.end_line)
        return [*gone, *_indented(text, parsed, list(runs), after[1:number], f"with {text.at(region.where)}:")]
    return None


def _is_alone(statement: cst.CSTNode) -> bool:
    """Whether a line is a call of `set_grad_enabled` and nothing else."""
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=cst.Call(func=func))]):
            return _switches(func)
        case _:
            return False


def _switches(func: cst.CSTNode) -> bool:
    match func:
        case cst.Name(value=name) | cst.Attribute(attr=cst.Name(value=name)):
            return name == "set_grad_enabled"
        case _:
            return False


def _wrapped(text: SourceText, parsed: Parsed, region: Region, body: cst.BaseSuite, header: str) -> list[Edit]:
    """Put what updates a buffer under a header of its own, one level further in."""
    if not isinstance(body, cst.IndentedBlock):
        return []
    runs = list(_runs(parsed, region, body.body, _header_end(parsed, body)))
    return _indented(text, parsed, runs, body.body, header)


def _indented(
    text: SourceText, parsed: Parsed, runs: list[Run], body: Sequence[cst.CSTNode], header: str
) -> list[Edit]:
    if not body:
        return []
    strings = {line for statement in body for line in inside_strings(parsed, statement)}
    path, newline = parsed.locate(body[0]).path, newline_of(text)
    return [*Indented(text, path, runs, strings, f"{header}{newline}", "").indented(parsed.module.default_indent)]


def _runs(parsed: Parsed, region: Region, body: Sequence[cst.CSTNode], previous: int) -> Iterator[Run]:
    """Yield runs of lines, comments above a statement included, that stay without gradients or do not."""
    for statement in body:
        where = parsed.locate(statement)
        if not _holds(region.updates, where):
            yield Run(previous + 1, where.end_line, False)
        elif not _mixed(parsed, region, statement):
            yield Run(previous + 1, where.end_line, True)
        else:
            for suite in _suites(statement):
                header_end = _header_end(parsed, suite)
                yield Run(previous + 1, header_end, False)
                yield from _runs(parsed, region, suite.body, header_end)
                previous = parsed.locate(suite.body[-1]).end_line + len(suite.footer)
                yield Run(previous - len(suite.footer) + 1, previous, False)
            if previous < where.end_line:
                yield Run(previous + 1, where.end_line, False)
        previous = where.end_line


def _mixed(parsed: Parsed, region: Region, statement: cst.CSTNode) -> bool:
    """Whether something is computed in a statement beside the updates of buffers in it."""
    places = [parsed.locate(n) for n in nodes(statement) if isinstance(n, cst.BaseSmallStatement)]
    updating = [place for place in places if _holds(region.updates, place)]
    inside = [place for place in region.stopped if at(place, parsed.locate(statement))]
    return any(not any(at(place, update) for update in updating) for place in inside)


def _suites(statement: cst.CSTNode) -> list[cst.IndentedBlock]:
    """Return the blocks of a compound statement, in order."""
    match statement:
        case cst.If(body=body, orelse=orelse):
            found: list[cst.BaseSuite] = [body, *(_suites(orelse) if orelse is not None else ())]
        case cst.For() | cst.While():
            found = [statement.body, *([statement.orelse.body] if statement.orelse is not None else [])]
        case cst.With() | cst.Else() | cst.Finally():
            found = [statement.body]
        case cst.Try() | cst.TryStar():
            more = [statement.orelse, statement.finalbody]
            found = [statement.body, *(h.body for h in statement.handlers), *(m.body for m in more if m is not None)]
        case _:
            raise _MixedError
    blocks = [suite for suite in found if isinstance(suite, cst.IndentedBlock)]
    if len(blocks) < len(found):
        raise _MixedError
    return blocks


def _header_end(parsed: Parsed, block: cst.IndentedBlock) -> int:
    """Return the last line of `with …:`; comments above the first statement belong to that."""
    first = block.body[0]
    above = len(getattr(first, "leading_lines", ()))
    if isinstance(first, cst.FunctionDef | cst.ClassDef):
        above += len(first.decorators) + len(first.lines_after_decorators)
    return parsed.locate(first).line - above - 1


def _holds(places: frozenset[SourceLocation], outer: SourceLocation) -> bool:
    return any(at(place, outer) for place in places)
