"""What a running statistic is updated by: the factors of the old value and of the new one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.ops import Role, role

#: terms of one update before it counts as something else
MAX_TERMS = 16


@dataclass(frozen=True, slots=True)
class Term:
    """A summand: the node that is scaled, and the texts of its factors; "-" and "1/…" are factors too."""

    node: int
    factors: tuple[str, ...] = ()


def terms(graph: FlowGraph, index: int) -> list[Term]:
    """Take an expression apart into summands, each with its constant factors; too many are none at all."""
    found: list[Term] = []
    todo = [Term(index)]
    while todo:
        term = todo.pop()
        parts = _parts(graph, term)
        if len(found) + len(todo) > MAX_TERMS:
            return []
        if parts is None:
            signs = ("-",) * (term.factors.count("-") % 2)
            found.append(Term(term.node, (*signs, *sorted(f for f in term.factors if f != "-"))))
        else:
            todo += parts
    return found


def _parts(graph: FlowGraph, term: Term) -> list[Term] | None:
    node, factors = graph[term.node], term.factors
    args = node.args

    def text(arg: int) -> str | None:
        return _plain(graph[arg].name) if graph[arg].kind is Kind.CONSTANT else None

    match node.name:
        case "add" if len(args) == 2:
            return [Term(arg, factors) for arg in args]
        case "sub" if len(args) == 2:
            return [Term(args[0], factors), Term(args[1], ("-", *factors))]
        case "neg":
            return [Term(args[0], ("-", *factors))]
        case "mul" if len(args) == 2:
            scaled = [(value, t) for value, by in (args, args[::-1]) if (t := text(by)) is not None]
            return [Term(scaled[0][0], (scaled[0][1], *factors))] if scaled else None
        case "div" if len(args) == 2 and text(args[1]) is not None:
            return [Term(args[0], (f"1/{text(args[1])}", *factors))]
        case "lerp" if len(args) == 3 and text(args[2]) is not None:
            weight = str(text(args[2]))
            return [Term(args[0], (rest(weight), *factors)), Term(args[1], (weight, *factors))]
        case _ if node.kind is Kind.STOP or (node.kind is Kind.OP and role(node.name) is Role.SHAPE):
            return [Term(args[0], factors)]
        case _ if node.kind is Kind.MERGE and len(args) == 1:
            return [Term(args[0], factors)]
        case _:
            return None


def rest(weight: str) -> str:
    """Return the text of what a weight leaves of one; of `1-m` that is `m`."""
    return weight.removeprefix("1-") if weight.startswith("1-") else f"1-{weight}"


def _plain(text: str) -> str:
    """Spell a factor in one way: without spaces and outer parentheses, and one as `1`."""
    text = text.replace(" ", "")
    text = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    return re.sub(r"^1\.0*-", "1-", text)
