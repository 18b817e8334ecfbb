"""Generated modules: what autograd does with each is measured, and the static check must say the same."""

from __future__ import annotations

import pytest
from mutant_kinds import KINDS
from mutant_stops import STOPS
from mutant_travels import WAYS
from mutants import Mutant, gradient_error, mutants

from bnlint.finding import Severity
from bnlint.source.check import check_source

#: how many stops each pair of a kind and a way to travel is tried with
PER_PAIR = 2
#: below: right, up to what finite differences leave; above: wrong
RIGHT, WRONG = 1e-6, 1e-3
CODES = {"BN101", "BN102", "BN103", "BN104", "BN105", "BN106"}

#: stopped statistics that are not found, each with the reason
MISSED: dict[str, str] = {}


def alarms(mutant: Mutant) -> set[int]:
    """The lines of the findings that fail a run."""
    found = check_source(mutant.source.encode(), "mutant.py")
    return {f.location.line for f in found if f.code in CODES and f.severity is not Severity.NOTE and f.location}


def test_there_are_enough_of_them() -> None:
    drawn = list(mutants(PER_PAIR))
    assert len({mutant.source for mutant in drawn}) >= 2_000
    assert len(KINDS) >= 8
    assert len(WAYS) >= 12
    assert {mutant.stop for mutant in drawn} == set(STOPS)
    assert {m.name for m in drawn} >= set(MISSED)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_the_check_agrees_with_autograd(kind: str) -> None:
    drawn = [mutant for mutant in mutants(PER_PAIR) if mutant.kind == kind]
    errors = {mutant.name: gradient_error(mutant) for mutant in drawn}
    assert [name for name, error in errors.items() if RIGHT < error < WRONG] == []
    wrong = [mutant for mutant in drawn if errors[mutant.name] > RIGHT]
    found = {mutant.name: alarms(mutant) for mutant in drawn}
    assert [mutant.name for mutant in drawn if mutant not in wrong and found[mutant.name]] == []
    missed = {mutant.name for mutant in wrong if not found[mutant.name]}
    assert missed == set(MISSED) & {mutant.name for mutant in drawn}
    assert len(missed) <= 0.03 * len(wrong)
    assert [mutant.name for mutant in wrong if not found[mutant.name] <= mutant.marked] == []
