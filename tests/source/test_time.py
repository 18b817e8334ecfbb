"""Long files take time in step with their length, and no input makes the analysis run away."""

from __future__ import annotations

import cProfile
from collections.abc import Callable

import pytest

from bnlint.source.check import check_source, inspect_source

HEAD = "import torch\nfrom torch import nn\n\n\n"
METHOD = "    def m{0}(self, x):\n        return x - x.mean(), x.mean().detach()\n"


def function(*lines: str) -> str:
    return HEAD + "def f(x, a):\n    m = x.mean()\n    y = x\n" + "".join(lines) + "    return x - m.detach(), y\n"


#: kind → a file of the given length, and a length that takes a fraction of a second
FILES = {
    "assignments": (lambda n: function(*(f"    v{i} = x * {i}\n" for i in range(n))), 500),
    "a chain of operations": (lambda n: function("    y = y + 1\n" * n), 500),
    "normalizations of each other": (lambda n: function("    y = y - y.mean()\n" * n), 100),
    "blocks without gradients": (
        lambda n: function("    with torch.no_grad():\n        k = x.mean()\n    y = y - y.mean()\n" * n),
        60,
    ),
    "branches": (lambda n: function(*(f"    if a.k{i}:\n        m = m * 2\n" for i in range(n))), 300),
    "a value met twice": (lambda n: function("    m = m + m\n" * n), 300),
    "methods": (lambda n: HEAD + "class N(nn.Module):\n" + "".join(METHOD.format(i) for i in range(n)), 300),
    "methods that call each other": (
        lambda n: (
            HEAD
            + "class N(nn.Module):\n"
            + "".join(METHOD.format(i).replace("x.mean(),", f"self.m{i + 1}(x),") for i in range(n))
        ),
        60,
    ),
    "maxima of a tensor and an object": (
        lambda n: (
            f"{HEAD}class N(nn.Module):\n    def forward(self, x):\n        y = x - x.mean().detach()\n"
            + "        y = y + x.max(self)[0]\n" * n
            + "".join(f"\n    def m{i}(self):\n        return {i}\n" for i in range(n))
        ),
        60,
    ),
    "data": (lambda n: function() + "T = [\n" + "    [1, 2.5, 'a'],\n" * n + "]\n", 1_000),
}


def calls(source: str) -> int:
    """Count the function calls of a check: unlike seconds, they are the same on a busy machine."""
    profile = cProfile.Profile()
    profile.runcall(check_source, source.encode(), "a.py")
    return sum(entry.callcount for entry in profile.getstats())


@pytest.mark.parametrize(("make", "length"), FILES.values(), ids=FILES.keys())
def test_four_times_the_length_takes_four_times_the_work(make: Callable[[int], str], length: int) -> None:
    calls(make(8))
    assert calls(make(4 * length)) < 8 * calls(make(length))


def test_functions_that_call_the_next_three_times_are_given_up() -> None:
    steps = "".join(f"def f{i}(x):\n    return f{i + 1}(x) + f{i + 1}(x) - f{i + 1}(x)\n" for i in range(9))
    assert calls(f"{HEAD}{steps}def f9(x):\n    return x - x.mean().detach()\n") < 20_000_000


def test_a_long_file_is_checked() -> None:
    data = "    2.5,\n" * 100_000
    source = f"{HEAD}T = [\n{data}]\n\n\ndef f(x):\n    return x - x.mean().detach()\n"
    (finding,) = check_source(source.encode(), "a.py")
    assert finding.location is not None
    assert finding.location.line == source.count("\n")


def program(heirs: int) -> str:
    """A class whose methods call each other again and again, and classes that put in something of their own."""
    step = "    def m{}(self, x):\n        return self.m{}(x) + self.m{}(x) - self.leaf(x)\n"
    leaf = "    def leaf(self, x):\n        return x - x.mean().detach()\n"
    steps = (step.format(i, (i + 1) % 9, (i + 2) % 9) for i in range(9))
    own = (f"class N{i}(N):\n{leaf}" for i in range(heirs))
    return f"{HEAD}class N(nn.Module):\n{leaf}{''.join(steps)}{''.join(own)}"


def test_a_program_is_given_up_once_and_not_for_each_class_that_inherits_it() -> None:
    checked = inspect_source(program(20).encode(), "a.py")
    assert {f"N{i}.m0" for i in range(20)} < {*checked.lost}
    assert [finding.symbol for finding in checked.findings] == ["N.leaf", *(f"N{i}.leaf" for i in range(20))]
    assert calls(program(20)) < 5 * calls(program(1))
