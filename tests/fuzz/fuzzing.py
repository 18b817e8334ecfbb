"""How much is tried: a little in every run, and as much as `BNLINT_FUZZ` says by hand, then anew each time."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("BNLINT_FUZZ", "0"))


def tried(few: int) -> settings:
    """The settings of a test that tries `few` examples in every run."""
    return settings(
        max_examples=EXAMPLES or few,
        deadline=None,
        derandomize=not EXAMPLES,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
