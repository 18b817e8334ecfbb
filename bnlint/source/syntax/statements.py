"""The statements of the syntax; those on one line, behind `;` or `:`, are like any others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bnlint.source.syntax.node import Compound, Expression, Node, Statement


class Block(Node):
    """The statements below a header; those of a function are made when somebody asks."""

    __slots__ = ("_body",)

    def __init__(self, body: Sequence[Statement] | Callable[[], Sequence[Statement]]) -> None:
        super().__init__()
        self._body = body

    @property
    def body(self) -> Sequence[Statement]:
        """The statements in order."""
        if callable(self._body):
            self._body = self._body()
        return self._body

    @property
    def children(self) -> Iterator[Node]:
        """What is right below it."""
        return iter(self.body)


@dataclass(slots=True, eq=False)
class Expr(Statement):
    """An expression as a statement."""

    value: Expression


@dataclass(slots=True, eq=False)
class AssignTarget(Node):
    """What is assigned to."""

    target: Expression


@dataclass(slots=True, eq=False)
class Assign(Statement):
    """`target = … = value`."""

    targets: Sequence[AssignTarget]
    value: Expression


@dataclass(slots=True, eq=False)
class AnnAssign(Statement):
    """`target: annotation = value`."""

    target: Expression
    value: Expression | None


@dataclass(slots=True, eq=False)
class AugAssign(Statement):
    """`target += value`."""

    target: Expression
    operator: str
    value: Expression


@dataclass(slots=True, eq=False)
class Return(Statement):
    """`return value`."""

    value: Expression | None


@dataclass(slots=True, eq=False)
class Raise(Statement):
    """`raise …`."""


@dataclass(slots=True, eq=False)
class Assert(Statement):
    """`assert test`."""

    test: Expression


@dataclass(slots=True, eq=False)
class AsName(Node):
    """`as name`."""

    name: Expression


@dataclass(slots=True, eq=False)
class ImportAlias(Node):
    """`name as asname` in an import."""

    name: Expression
    asname: AsName | None


@dataclass(slots=True, eq=False)
class ImportStar(Node):
    """`*` in an import."""


@dataclass(slots=True, eq=False)
class Dot(Node):
    """A dot before the module of an import."""


@dataclass(slots=True, eq=False)
class Import(Statement):
    """`import names`."""

    names: Sequence[ImportAlias]


@dataclass(slots=True, eq=False)
class ImportFrom(Statement):
    """`from module import names`."""

    module: Expression | None
    names: Sequence[ImportAlias] | ImportStar
    relative: Sequence[Dot]


@dataclass(slots=True, eq=False)
class Rest(Statement):
    """A statement that the flow does not look into."""


@dataclass(slots=True, eq=False)
class Else(Node):
    """The `else` of a statement."""

    body: Block


@dataclass(slots=True, eq=False)
class Finally(Node):
    """The `finally` of a `try`."""

    body: Block


@dataclass(slots=True, eq=False)
class If(Compound):
    """`if test: body`."""

    test: Expression
    body: Block
    orelse: If | Else | None


@dataclass(slots=True, eq=False)
class For(Compound):
    """`for target in iter: body`."""

    target: Expression
    iter: Expression
    body: Block
    orelse: Else | None


@dataclass(slots=True, eq=False)
class While(Compound):
    """`while test: body`."""

    test: Expression
    body: Block
    orelse: Else | None


@dataclass(slots=True, eq=False)
class WithItem(Node):
    """`item as asname` of a `with`."""

    item: Expression
    asname: AsName | None


@dataclass(slots=True, eq=False)
class With(Compound):
    """`with items: body`."""

    items: Sequence[WithItem]
    body: Block


@dataclass(slots=True, eq=False)
class ExceptHandler(Node):
    """`except …: body`."""

    body: Block


@dataclass(slots=True, eq=False)
class Try(Compound):
    """`try: body`."""

    body: Block
    handlers: Sequence[ExceptHandler]
    orelse: Else | None
    finalbody: Finally | None


@dataclass(slots=True, eq=False)
class MatchCase(Node):
    """`case …: body`."""

    body: Block


@dataclass(slots=True, eq=False)
class Match(Compound):
    """`match subject: cases`."""

    cases: Sequence[MatchCase]


@dataclass(slots=True, eq=False)
class Module(Node):
    """A file."""

    body: Sequence[Statement]
