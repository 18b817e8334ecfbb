"""The catalogue: every rule, one pure predicate each, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bnlint.finding import Severity
from bnlint.flow.sites import Gradient


@dataclass(frozen=True, slots=True)
class Fact:
    """What rules judge: one statistic of one site, as both engines see it.

    Attributes:
        statistic: `mean`, `var`, `std`, `norm`, `rms`; None where only the layer as a whole was measured.
        gradient: Whether its gradient flows.
        stop: The kind of its first stop (`detach`, `data`, `no_grad`, `item` …), None where there is none to see.
        before: Whether that stop comes before the reduction (`x.detach().mean()`).
    """

    statistic: str | None
    gradient: Gradient
    stop: str | None = None
    before: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; its page is `rules/CODE-NAME.md`."""

    code: str
    name: str
    severity: Severity
    engines: tuple[str, ...]
    applies: Callable[[Fact], bool]


def _detached(fact: Fact) -> bool:
    return fact.stop in {"detach", "data"} and not fact.before


def _without_grad(fact: Fact) -> bool:
    return fact.stop in {"no_grad", "inference_mode"}


def _of_detached_input(fact: Fact) -> bool:
    return fact.stop in {"detach", "data"} and fact.before


def _leaves_autograd(fact: Fact) -> bool:
    return fact.stop in {"item", "float", "tolist", "numpy", "tensor"}


def _unknown(fact: Fact) -> bool:
    return fact.gradient is Gradient.STOPPED


def _never(_: Fact) -> bool:
    return False


#: what people call a statistic
PLAIN = {"var": "variance", "std": "standard deviation", "rms": "mean square"}

BOTH = ("static", "runtime")

#: judged in this order; the first that applies reports the statistic
RULES: tuple[Rule, ...] = (
    Rule("BN001", "syntax-error", Severity.ERROR, ("static",), _never),
    Rule("BN002", "unused-suppression", Severity.WARNING, ("static",), _never),
    Rule("BN101", "detached-statistic", Severity.ERROR, BOTH, _detached),
    Rule("BN102", "statistic-without-grad", Severity.ERROR, BOTH, _without_grad),
    Rule("BN103", "statistic-of-detached-input", Severity.ERROR, BOTH, _of_detached_input),
    Rule("BN104", "statistic-leaves-autograd", Severity.ERROR, BOTH, _leaves_autograd),
    Rule("BN107", "unknown-stop", Severity.ERROR, ("runtime",), _unknown),
)

BY_CODE: dict[str, Rule] = {rule.code: rule for rule in RULES}


def judge(fact: Fact, engine: str) -> Rule | None:
    """Return the rule that reports a fact, None where it is right or not known to be wrong."""
    if fact.gradient is not Gradient.STOPPED:
        return None
    return next((rule for rule in RULES if engine in rule.engines and rule.applies(fact)), None)
