"""Near misses: what looks like a stopped statistic and is right, or is meant. Silence is the product."""

from __future__ import annotations

import pytest
from shapes import MEANT, RIGHT
from snippets import gradient_error, reported


@pytest.mark.parametrize("source", (RIGHT | MEANT).values(), ids=(RIGHT | MEANT).keys())
def test_nothing_is_reported(source: str) -> None:
    compile(source, "snippet.py", "exec")
    assert reported(source) == []


@pytest.mark.parametrize("source", RIGHT.values(), ids=RIGHT.keys())
def test_the_gradient_is_right(source: str) -> None:
    assert gradient_error(source) < 1e-6
