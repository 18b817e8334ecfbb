"""Measure the static check on generated normalizations: missed and false alarms, against autograd itself.

Run it as `PYTHONPATH=. python benchmarks/mutants.py [--stops 10]`; the tests draw two stops per kind and way to travel.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "source"))

from mutants import Mutant, gradient_error, mutants
from test_mutants import RIGHT, alarms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stops", type=int, default=10, help="stops per kind and way to travel; 0 for all of them")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    start = time.perf_counter()
    for mutant in mutants(given.stops or None):
        verdict = judged(mutant)
        counts[verdict] += 1
        if verdict in {"missed", "false", "elsewhere"}:
            print(f"{verdict}: {mutant.name}")
    total = sum(counts.values())
    print(f"{total} modules in {time.perf_counter() - start:.0f} s: {dict(counts)}")


def judged(mutant: Mutant) -> str:
    """Say what the check makes of a mutant: found, missed, false, silent, or found at the wrong line."""
    wrong, lines = gradient_error(mutant) > RIGHT, alarms(mutant)
    if not wrong:
        return "false" if lines else "silent"
    if not lines:
        return "missed"
    return "found" if lines <= mutant.marked else "elsewhere"


if __name__ == "__main__":
    main()
