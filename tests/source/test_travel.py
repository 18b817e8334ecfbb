"""The ways a stopped statistic travels to its use: each snippet is run, measured to be wrong, and must be reported."""

from __future__ import annotations

import pytest
from shapes import STOPPED
from snippets import gradient_error, marked, reported


@pytest.mark.parametrize("source", STOPPED.values(), ids=STOPPED.keys())
def test_a_stopped_statistic_is_reported_at_its_stop(source: str) -> None:
    assert reported(source) == sorted(set(marked(source)))


@pytest.mark.filterwarnings("ignore:Converting a tensor")
@pytest.mark.parametrize("source", STOPPED.values(), ids=STOPPED.keys())
def test_autograd_agrees_with_the_marks(source: str) -> None:
    wrong = gradient_error(source) > 1e-4
    assert wrong == bool(marked(source))
