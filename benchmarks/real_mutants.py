"""Mutants of real layers: one statistic of a file gets a stop and a way to travel, and the rest stays as it is.

Stops and ways are those of the tests (`tests/source/mutant_stops.py`, `mutant_travels.py`); only what they are put on
differs, and that is somebody else's code.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from real_norms import reduces

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "source"))

from mutant_stops import STOPS
from mutant_text import Piece, Statistics, indent
from mutant_travels import WAYS
from mutants import with_stop

_PAIRS = frozenset({"var_mean", "std_mean"})
_MODULES = frozenset({"torch", "F", "nn", "linalg", "functional"})
_SIMPLE = (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Return, ast.Expr)
_INNER = (ast.Lambda, ast.ListComp, ast.GeneratorExp, ast.DictComp, ast.SetComp)
_NAME, _TENSOR = "stat", "T__"
_BUILTINS = frozenset({"self", "int", "float", "tuple", "list", "range", "len", "True", "False", "None", "x"})
_IMPORTS = {
    "np.": "import numpy as np",
    "torch.": "import torch",
    "F.": "import torch.nn.functional as F",
    "nn.": "from torch import nn",
    "Variable(": "from torch.autograd import Variable",
} | {f"{name}.": f"import {name}" for name in ("collections", "contextlib", "dataclasses", "types", "typing")}


@dataclass(frozen=True)
class Site:
    """A statistic in a file.

    Attributes:
        owner: The class that its function is a method of, None for a plain function.
        function: The function.
        statement: The statement that it is in.
        node: Its expression.
        expression: The same as text, `{t}` for its tensor.
        tensor: The text of the tensor.
        position: Which of a pair it is, None where it is none.
    """

    owner: ast.ClassDef | None
    function: ast.FunctionDef
    statement: ast.stmt
    node: ast.Call
    expression: str
    tensor: str
    position: int | None = None

    @property
    def lines(self) -> range:
        return range(self.statement.lineno, (self.statement.end_lineno or 0) + 1)

    @property
    def label(self) -> str:
        return f"{self.node.lineno}: {self.expression.replace('{t}', _term(self.tensor))}"


@dataclass(frozen=True)
class RealMutant:
    """A file with one stop; `marked` are the lines that hold it."""

    site: Site
    stop: str
    way: str
    source: str
    marked: frozenset[int]


def sites(source: str) -> Iterator[Site]:
    """Yield the statistics of a file that stand in a simple statement of a function."""
    tree, lines = ast.parse(source), source.splitlines()
    for owner, function in _functions(tree):
        for statement in ast.walk(function):
            if not isinstance(statement, _SIMPLE):
                continue
            if not lines[statement.lineno - 1][: statement.col_offset].strip():  # it begins its line
                for node in _outermost(statement):
                    yield from _sites(owner, function, statement, node)


def _functions(tree: ast.Module) -> Iterator[tuple[ast.ClassDef | None, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield None, node
        elif isinstance(node, ast.ClassDef):
            yield from ((node, part) for part in node.body if isinstance(part, ast.FunctionDef))


def _outermost(node: ast.AST) -> Iterator[ast.Call]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and reduces(child):
            yield child
        elif not isinstance(child, _INNER):
            yield from _outermost(child)


def _sites(
    owner: ast.ClassDef | None, function: ast.FunctionDef, statement: ast.stmt, node: ast.Call
) -> Iterator[Site]:
    assert isinstance(node.func, ast.Attribute)
    of_module = ast.unparse(node.func.value).split(".")[-1] in _MODULES
    if of_module and not node.args:
        return
    tensor = node.args[0] if of_module else node.func.value
    text, hole = ast.unparse(node), ast.unparse(tensor)
    start = len(ast.unparse(node.func)) + 1 if of_module else 0
    if not of_module and not text.startswith(hole):  # unparse puts parentheses around it
        hole = f"({hole})"
    expression = text[:start] + text[start:].replace(hole, "{t}", 1)
    if node.func.attr not in _PAIRS:
        yield Site(owner, function, statement, node, expression, ast.unparse(tensor))
        return
    for position in (0, 1):
        yield Site(owner, function, statement, node, f"{expression}[{position}]", ast.unparse(tensor), position)


class Dealer:
    """Deals pairs of a stop and a way like cards, so that all come up about as often."""

    def __init__(self) -> None:
        self._random = Random(0)
        self._deck: list[tuple[str, str]] = []

    def mutants(self, source: str, site: Site, number: int) -> Iterator[RealMutant]:
        """Yield mutants of a site, by the next cards that fit it."""
        refused: list[tuple[str, str]] = []
        while number:
            if not self._deck:
                cards = [(stop, way) for stop in STOPS for way in WAYS]
                self._deck = self._random.sample(cards, len(cards))
            card = self._deck.pop()
            mutant = compose(source, site, *card)
            if mutant is None:
                refused.append(card)
                if len(refused) > 400:  # hardly anything fits
                    break
                continue
            number -= 1
            yield mutant
        self._deck += refused[::-1]


def compose(source: str, site: Site, stop: str, way: str) -> RealMutant | None:
    """Write the file with a stop and a way at a site; None where they do not fit it."""
    how = STOPS[stop]
    placed = replace(site, expression="E__({t})")

    def of(at: str) -> list[Piece]:
        return [with_stop(_NAME, placed.expression, how, at)]

    travel = WAYS[way](Statistics(_TENSOR, of))
    fill = {"{name}": _NAME, "{e}": f"E__({how.tensor.replace('{t}', 'x')})"}
    definition, method = _filled(how.definition, fill), _filled(how.method, fill)
    apart = "".join((travel.top, travel.methods, travel.base, definition, method))
    value = travel.uses.get(_NAME, _NAME)
    here = travel.body + value
    if not _fits(source, site, apart, here) or ("E__" in definition and "self" in _read(site.expression)):
        return None
    expanded = _Expanded(site)
    parts = {
        "top": "\n\n".join(expanded(text) for text in (travel.top, definition) if text),
        "methods": "\n".join(expanded(text) for text in (travel.methods, method) if text),
        "base": expanded(travel.base),
    }
    text = _edited(source, site, expanded(_renamed(travel.body, site)), expanded(_renamed(value, site)), parts)
    lines = text.splitlines()
    marked = frozenset(number for number, line in enumerate(lines, 1) if "§" in line)
    text = "\n".join(lines).replace("§", "") + "\n"
    try:
        compile(text, "mutant.py", "exec")
    except SyntaxError:
        return None
    return RealMutant(site, stop, way, text, marked)


def _fits(source: str, site: Site, apart: str, here: str) -> bool:
    """Whether what is added finds all that it reads, and hides nothing that the function uses."""
    names = {node.id for node in ast.walk(site.function) if isinstance(node, ast.Name)}
    names |= {argument.arg for argument in ast.walk(site.function) if isinstance(argument, ast.arg)}
    added = set(re.findall(r"^\s*(?:for )?([a-z_, ]+?)(?: =| in |:=)", here, re.M))
    if names & {name.strip() for group in added for name in group.split(",")} - {"x"}:
        return False
    if site.owner is None and re.search(r"self\.|Norm\.", here + apart + (site.expression if "E__" in apart else "")):
        return False
    if re.search(r"(?<!\.)\bfrozen\b", here + apart):  # an argument that the function has not
        return False
    if "E__" in apart:  # written in another function: all but the tensor must be known there
        free = _read(site.expression)
        known = _read(source) - names
        if free - _BUILTINS - _MODULES - known or ("self" in free and "self" not in apart):
            return False
    return bool(_base_name(site)) or not re.search(r"\bx\b", here)


def _read(text: str) -> set[str]:
    """Name what a text reads; for an expression of a site, `{t}` is a set of a name."""
    return {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}


def _base_name(site: Site) -> str:
    arguments = [argument.arg for argument in site.function.args.args if argument.arg != "self"]
    return arguments[0] if arguments else ""


def _renamed(text: str, site: Site) -> str:
    return re.sub(r"(?<![\w.])x\b(?!\s*=)", _base_name(site), text)


def _filled(text: str, fill: dict[str, str]) -> str:
    for key, value in fill.items():
        text = text.replace(key, value)
    return text


def _term(text: str) -> str:
    return text if re.fullmatch(r"[\w.]+(\([^()]*\))?", text) else f"({text})"


class _Expanded:
    """Puts the expression of a site where its place holders are."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def __call__(self, text: str) -> str:
        while (start := text.find("E__(")) >= 0:
            depth, end = 1, start + 4
            while depth:
                depth += {"(": 1, ")": -1}.get(text[end], 0)
                end += 1
            inner = text[start + 4 : end - 1]
            text = text[:start] + self._site.expression.replace("{t}", _term(inner)) + text[end:]
        owner = "" if self._site.owner is None else self._site.owner.name
        return text.replace(_TENSOR, _term(self._site.tensor)).replace("Norm.frozen_", f"{owner}.frozen_")


def _edited(source: str, site: Site, body: str, value: str, parts: dict[str, str]) -> str:
    """Put the added text where it belongs: from the end of the file to its beginning, so that places stay."""
    lines = source.splitlines(keepends=True)
    if not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    owner, added = site.owner, body + value + "".join(parts.values())
    lines.append(f"\n\n{parts['top']}" if parts["top"].strip() else "")
    if (owner is not None and parts["methods"].strip()) or "self.frozen" in added:
        methods = "\nfrozen = False\n\n" + parts["methods"]
        lines.insert(owner.end_lineno or 0, textwrap.indent(methods, " " * owner.body[0].col_offset))
    _replace(lines, site, value)
    lines.insert(site.statement.lineno - 1, textwrap.indent(body, " " * site.statement.col_offset))
    if parts["base"]:
        lines[owner.lineno - 1] = lines[owner.lineno - 1].replace("(", "(Base, ", 1)
        first = min([owner.lineno, *(decorator.lineno for decorator in owner.decorator_list)])
        lines.insert(first - 1, f"class Base:\n{indent(parts['base'])}\n\n")
    imports = [line for token, line in _IMPORTS.items() if re.search(rf"(?<![\w.]){re.escape(token)}", added)]
    lines.insert(_head(source), "".join(f"{line}\n" for line in imports if f"\n{line}\n" not in source))
    return "".join(lines)


def _head(source: str) -> int:
    """Return the number of lines up to the last `from __future__ import`, or the text that a file begins with."""
    body = ast.parse(source).body
    heads = [node for node in body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    heads = heads or [node for node in body[:1] if _is_text(node)]
    return (heads[-1].end_lineno or 0) if heads else 0


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replace(lines: list[str], site: Site, value: str) -> None:
    node = site.node
    first, last = node.lineno - 1, (node.end_lineno or 0) - 1
    before = lines[first].encode()[: node.col_offset].decode()
    after = lines[last].encode()[node.end_col_offset :].decode()
    old = ast.unparse(node)
    text = {None: value, 0: f"({value}, {old}[1])", 1: f"({old}[0], {value})"}[site.position]
    lines[first : last + 1] = [before + text + after]
