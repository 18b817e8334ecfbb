"""Which functions may use a stopped statistic: what carries a statistic and what carries a stop, in any order of lines.

This is far quicker than to follow the flow, and sees more than there is: a name carries what it is given anywhere in
its function, an attribute what it is given anywhere in the file. Only what a statistic and a stop reach together, and
what is then used in arithmetic, is worth being followed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from bnlint.flow.ops import GRAD_OFF
from bnlint.source.carriers import STOP, Carriers, last_of, parameters_of
from bnlint.source.outline import CALLED, Outline

#: rounds after which every function counts as one that may
MAX_ROUNDS = 12


def joining(tree: ast.Module, sketch: Outline, lent: Mapping[str, int]) -> frozenset[tuple[str, str]] | None:
    """Return the functions in which what a statistic and a stop reach is used in arithmetic, or leaves the file.

    Args:
        tree: The file, or the part of it that is needed.
        sketch: The outline of the file.
        lent: Name → what a definition in another file makes, `STATISTIC` or `STOP`, both or neither.

    Returns:
        Pairs of a definition at the top level and the name of the function, a method's own; None for all of them.
    """
    taint = _Taint(sketch, lent)
    taint.read(tree)
    for _ in range(MAX_ROUNDS):
        if not taint.spread():
            return frozenset(taint.joins)
    return None


class _Taint(Carriers):
    def spread(self) -> bool:
        """Go through everything once; whether anything carries more than before."""
        self.changed = False
        self.here, self.off = None, False
        self._statements(self.rest)
        for function in self.functions:
            self.here, self.off = function, function.off
            if any(self.carried_by(each) & STOP for each in function.node.decorator_list):
                self.off = True
            name = function.node.name
            if name in CALLED or name.startswith("__") or name in self.handed_on:
                for parameter in parameters_of(function.node.args):
                    self.hold((function.key, parameter), self.loose)
            self._statements(function.node.body)
        return self.changed

    # -- statements

    def _statements(self, nodes: list[ast.stmt]) -> None:
        for node in nodes:
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                carried = self.carried_by(value)
                for target in targets:
                    self.assign(target, carried)
            case ast.AnnAssign(target=target, value=value):
                self.assign(target, self.carried_by(value))
            case ast.AugAssign(target=target, value=value):
                self.assign(target, self.joined(self.carried_by(target), self.carried_by(value)))
            case ast.Return(value=value):
                self.give_back(self.carried_by(value))
            case ast.For(target=target, iter=iterated) | ast.AsyncFor(target=target, iter=iterated):
                self.assign(target, self.carried_by(iterated))
                self._statements([*node.body, *node.orelse])
            case ast.With(items=items) | ast.AsyncWith(items=items):
                before = self.off
                for item in items:
                    carried = self.carried_by(item.context_expr)
                    self.assign(item.optional_vars, carried)
                    self.off = self.off or bool(carried & STOP)
                self._statements(node.body)
                self.off = before
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                before = self.off
                self.inner(name, node.args)
                if any(self.carried_by(each) & STOP for each in node.decorator_list):
                    self.off = True
                self._statements(node.body)
                self.off = before
                if self.here is not None:
                    self.hold(self.key(name), self.returned[self.here.node.name])
            case ast.Expr(value=ast.Call(func=func)) if last_of(func) in GRAD_OFF:
                self.off = True  # until it is switched back
            case ast.Match(subject=subject, cases=cases):
                carried = self.carried_by(subject)
                for case in cases:
                    for each in ast.walk(case.pattern):
                        if isinstance(each, (ast.MatchAs, ast.MatchStar)) and each.name:
                            self.hold(self.key(each.name), carried)
                    self._statements(case.body)
            case _:
                for child in _parts(node):
                    if isinstance(child, ast.stmt):
                        self._statement(child)
                    else:
                        self.carried_by(child)


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler):
            yield from child.body
        else:
            yield child
