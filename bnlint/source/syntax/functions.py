"""Functions and classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnlint.source.syntax.expressions import Arg, Name
from bnlint.source.syntax.node import Compound, Expression, Node
from bnlint.source.syntax.statements import Block


@dataclass(slots=True, eq=False)
class Annotation(Node):
    """The type of a parameter or variable."""

    annotation: Expression


@dataclass(slots=True, eq=False)
class Param(Node):
    """A parameter of a function."""

    name: Name
    annotation: Annotation | None
    default: Expression | None


@dataclass(slots=True, eq=False)
class Parameters(Node):
    """The parameters of a function."""

    params: Sequence[Param]
    posonly_params: Sequence[Param]
    kwonly_params: Sequence[Param]
    star_arg: Param | object
    star_kwarg: Param | None


@dataclass(slots=True, eq=False)
class Lambda(Expression):
    """A function without a name."""

    params: Parameters
    body: Expression


@dataclass(slots=True, eq=False)
class Decorator(Node):
    """`@decorator`."""

    decorator: Expression


@dataclass(slots=True, eq=False)
class FunctionDef(Compound):
    """A function."""

    name: Name
    params: Parameters
    body: Block
    decorators: Sequence[Decorator]


@dataclass(slots=True, eq=False)
class ClassDef(Compound):
    """A class."""

    name: Name
    bases: Sequence[Arg]
    body: Block
