"""The plugin of pytest: a fixture that makes the unit test of a normalization layer one line."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bnlint.errors import needing


@pytest.fixture(scope="session")
def assert_gradients_flow() -> Callable[..., None]:
    """`assert_gradients_flow(model, *inputs)` fails where a gradient does not flow through a statistic of the model."""
    with needing("torch", "assert_gradients_flow needs", "torch"):
        from bnlint import testing

    return testing.assert_gradients_flow
