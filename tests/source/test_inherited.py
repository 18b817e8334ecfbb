"""A method that many classes inherit is followed once for all in which it does the same, and anew where it does not."""

from __future__ import annotations

import textwrap
from collections.abc import Callable

import pytest

from bnlint.flow.graph import FlowGraph
from bnlint.source import from_ast
from bnlint.source.check import check_source
from bnlint.source.inherited import Inherited
from bnlint.source.interpret import Interpreter
from bnlint.source.lower import Lowered, lower, unplaced
from bnlint.source.text import parsed

BASE = """\
import torch
from torch import nn


def plain(x):
    return x.mean(0)


def stopped(x):
    return x.mean(0).detach()


class Helper:
    def __call__(self, x):
        return x.mean(0)


class Stopping:
    def __call__(self, x):
        return x.mean(0).detach()


class Base(nn.Module):
    stop = False

    def __init__(self):
        super().__init__()
        self.helper = Helper()

    def around(self, x):
        return x.mean(0)

    def center(self, x):
        return self.around(x)

    def forward(self, x):
        center = getattr(self, "center")
        if self.stop:
            return x - center(x).detach()
        self.level = x.mean(0)
        first, second = x - center(x), x - self.helper(x)
        return first + second - self.level + self.special(x)

    def special(self, x):
        return x.mean(1)

    def twice(self, x):
        return self(self(x))


"""
#: what a class below `Base` may have of its own; whatever the methods of `Base` ask for is in here
OVERRIDES = {
    "nothing that is asked for": "def other(self, x):\n    return x",
    "a method": "def around(self, x):\n    return x.mean(0).detach()",
    "a method that is asked for by its text": "def center(self, x):\n    return x.mean(0).detach()",
    "a property": "@property\ndef helper(self):\n    return stopped",
    "a literal": "stop = True",
    "a literal that is equal": "stop = 0",
    "a buffer": 'def __init__(self):\n    super().__init__()\n    self.register_buffer("level", torch.zeros(3))',
    "a parameter": "def __init__(self):\n    super().__init__()\n    self.level = nn.Parameter(torch.zeros(3))",
    "a plain tensor": "def __init__(self):\n    super().__init__()\n    self.running_mean = torch.zeros(3)",
    "what makes an attribute": "def __init__(self):\n    super().__init__()\n    self.helper = Stopping()",
    "the call": "def forward(self, x):\n    return x - x.mean(0).detach()",
    "super": "def center(self, x):\n    return super().center(x).detach()",
    "a field": "special: float\nhelper: object",
}


def hierarchy(override: str) -> str:
    heir = f"class Heir(Base):\n{textwrap.indent(override, '    ')}\n"
    return f"{BASE}{heir}\n\nclass Last(Heir):\n    def more(self): ...\n"


def lowered(source: str) -> list[Lowered]:
    return list(lower(unplaced("a.py", from_ast.module(parsed(source).body))))


def told(graph: FlowGraph | None) -> object:
    return None if graph is None else (list(graph), graph.kept, graph.owner)


@pytest.mark.parametrize("override", OVERRIDES.values(), ids=OVERRIDES.keys())
def test_the_flow_of_an_heir_is_as_if_it_were_followed_alone(override: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {each.symbol: told(each.graph) for each in lowered(hierarchy(override))}
    monkeypatch.setattr(Inherited, "find", lambda *_: None)
    alone = {each.symbol: told(each.graph) for each in lowered(hierarchy(override))}
    assert len(alone) > 10
    assert shared == alone


LAYER = """\
from torch import nn


class Center(nn.Module):
    def around(self, x):
        return x.mean(0)

    def forward(self, x):
        return x - self.around(x)


class First(Center):
    def extra_repr(self):
        return ""


class Heir(Center):
    def {name}(self, x):
        return x.mean(0).detach()
"""


def test_what_an_heir_stops_is_found() -> None:
    assert check_source(LAYER.format(name="other").encode(), "a.py") == []
    (finding,) = check_source(LAYER.format(name="around").encode(), "a.py")
    assert finding.code == "BN101"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How often a function was followed."""
    followed: list[str] = []
    run = Interpreter.run

    def counted(self: Interpreter, function: object) -> None:
        followed.append(self.symbol)
        run(self, function)  # type: ignore[arg-type]

    monkeypatch.setattr(Interpreter, "run", counted)
    return lambda: len(followed)


def test_heirs_that_do_the_same_are_followed_once(runs: Callable[[], int]) -> None:
    heirs = "".join(f"class Heir{n}(Base):\n    def own{n}(self, x):\n        return x\n\n\n" for n in range(20))
    graphs = [each.graph for each in lowered(BASE + heirs)]
    assert len(graphs) == 4 + 6 + 20 * 6 - 1
    assert runs() == 4 + 5 + 20
