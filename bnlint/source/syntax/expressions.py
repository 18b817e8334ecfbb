"""The expressions of the syntax; operators are told by name (`add`, `eq`, `and`), `other` where the flow knows none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bnlint.source.syntax.node import Expression, Node


@dataclass(slots=True, eq=False)
class Other(Expression):
    """An expression that the flow does not look into."""


@dataclass(slots=True, eq=False)
class Name(Expression):
    """A name; `True`, `False` and `None` are names as well."""

    value: str


@dataclass(slots=True, eq=False)
class Integer(Expression):
    """An integer."""

    evaluated_value: int


@dataclass(slots=True, eq=False)
class Float(Expression):
    """A number with a point."""

    evaluated_value: float


@dataclass(slots=True, eq=False)
class SimpleString(Expression):
    """A string literal, or bytes."""

    evaluated_value: str | bytes


@dataclass(slots=True, eq=False)
class ConcatenatedString(Expression):
    """String literals one behind the other; None where a part is not plain."""

    evaluated_value: str | bytes | None


@dataclass(slots=True, eq=False)
class Ellipsis(Expression):  # the name that libcst has for it
    """`...`."""


@dataclass(slots=True, eq=False)
class Attribute(Expression):
    """`value.attr`."""

    value: Expression
    attr: Name


@dataclass(slots=True, eq=False)
class Arg(Node):
    """An argument of a call, or a base of a class."""

    value: Expression
    keyword: Name | None = None
    star: str = ""


@dataclass(slots=True, eq=False)
class Call(Expression):
    """A call."""

    func: Expression
    args: Sequence[Arg]


@dataclass(slots=True, eq=False)
class Index(Node):
    """An index that is no slice."""

    value: Expression


@dataclass(slots=True, eq=False)
class Slice(Node):
    """`lower:upper:step`."""

    lower: Expression | None
    upper: Expression | None
    step: Expression | None


@dataclass(slots=True, eq=False)
class SubscriptElement(Node):
    """One of the indices of a subscript."""

    slice: Index | Slice


@dataclass(slots=True, eq=False)
class Subscript(Expression):
    """`value[slice]`."""

    value: Expression
    slice: Sequence[SubscriptElement]


@dataclass(slots=True, eq=False)
class BinaryOperation(Expression):
    """`left operator right`."""

    left: Expression
    operator: str
    right: Expression


@dataclass(slots=True, eq=False)
class BooleanOperation(Expression):
    """`left and right`, `left or right`."""

    left: Expression
    operator: str
    right: Expression


@dataclass(slots=True, eq=False)
class UnaryOperation(Expression):
    """`operator expression`."""

    operator: str
    expression: Expression


@dataclass(slots=True, eq=False)
class ComparisonTarget(Node):
    """What something is compared with."""

    operator: str
    comparator: Expression


@dataclass(slots=True, eq=False)
class Comparison(Expression):
    """`left operator comparator …`."""

    left: Expression
    comparisons: Sequence[ComparisonTarget]


@dataclass(slots=True, eq=False)
class IfExp(Expression):
    """`body if test else orelse`."""

    test: Expression
    body: Expression
    orelse: Expression


@dataclass(slots=True, eq=False)
class NamedExpr(Expression):
    """`target := value`."""

    target: Expression
    value: Expression


@dataclass(slots=True, eq=False)
class Element(Node):
    """An element of a container."""

    value: Expression


@dataclass(slots=True, eq=False)
class StarredElement(Expression):
    """`*value` in a container."""

    value: Expression


@dataclass(slots=True, eq=False)
class Tuple(Expression):
    """A tuple."""

    elements: Sequence[Element | StarredElement]


@dataclass(slots=True, eq=False)
class List(Expression):
    """A list."""

    elements: Sequence[Element | StarredElement]


@dataclass(slots=True, eq=False)
class Set(Expression):
    """A set."""

    elements: Sequence[Element | StarredElement]


@dataclass(slots=True, eq=False)
class DictElement(Node):
    """`key: value` in a dictionary."""

    key: Expression
    value: Expression


@dataclass(slots=True, eq=False)
class StarredDictElement(Node):
    """`**value` in a dictionary."""

    value: Expression


@dataclass(slots=True, eq=False)
class Dict(Expression):
    """A dictionary."""

    elements: Sequence[DictElement | StarredDictElement]


@dataclass(slots=True, eq=False)
class CompFor(Node):
    """`for target in iter`, with its conditions and the loop inside of it."""

    target: Expression
    iter: Expression
    ifs: Sequence[Node]
    inner_for_in: CompFor | None


@dataclass(slots=True, eq=False)
class ListComp(Expression):
    """A list comprehension."""

    elt: Expression
    for_in: CompFor


@dataclass(slots=True, eq=False)
class SetComp(Expression):
    """A set comprehension."""

    elt: Expression
    for_in: CompFor


@dataclass(slots=True, eq=False)
class GeneratorExp(Expression):
    """A generator expression."""

    elt: Expression
    for_in: CompFor


@dataclass(slots=True, eq=False)
class DictComp(Expression):
    """A dictionary comprehension."""

    key: Expression
    value: Expression
    for_in: CompFor


@dataclass(slots=True, eq=False)
class Await(Expression):
    """`await expression`."""

    expression: Expression


@dataclass(slots=True, eq=False)
class From(Node):
    """What `yield from` hands on."""

    item: Expression


@dataclass(slots=True, eq=False)
class Yield(Expression):
    """`yield value`."""

    value: Expression | From | None
