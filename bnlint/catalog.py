"""The catalogue: every rule, one pure predicate each, in one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bnlint.finding import Severity
from bnlint.flow.traits import Gradient, Kind, Trait

if TYPE_CHECKING:
    from bnlint.flow.purposes import Purpose


@dataclass(frozen=True, slots=True)
class Fact:
    """One statistic of one site, as both engines see it.

    Attributes:
        statistic: `mean`, `var`, `std`, `norm`, `rms`; None where only the layer as a whole was measured.
        gradient: Whether its gradient flows.
        stop: The kind of its first stop (`detach`, `data`, `no_grad`, `item` …), None where there is none to see.
        before: Whether that stop comes before the reduction (`x.detach().mean()`).
        purpose: Why the stop is meant or does little harm, None where nothing says so.
    """

    statistic: str | None
    gradient: Gradient
    stop: str | None = None
    before: bool = False
    purpose: Purpose | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; its page is `rules/CODE-NAME.md`. `severity` is that of a fact which no purpose makes less."""

    code: str
    name: str
    severity: Severity
    engines: tuple[str, ...]
    applies: Callable[[Fact | Trait], bool]


def _statistic(holds: Callable[[Fact], bool]) -> Callable[[Fact | Trait], bool]:
    """A rule about the stopped gradient of a statistic; one that is not stopped for sure needs a purpose to tell."""
    return lambda fact: (
        isinstance(fact, Fact) and (fact.gradient is Gradient.STOPPED or fact.purpose is not None) and holds(fact)
    )


def _trait(kind: Kind) -> Callable[[Fact | Trait], bool]:
    """A rule about a trait."""
    return lambda fact: isinstance(fact, Trait) and fact.kind is kind


def _detached(fact: Fact) -> bool:
    return fact.stop in {"detach", "data"} and not fact.before


def _without_grad(fact: Fact) -> bool:
    return fact.stop in {"no_grad", "inference_mode"}


def _of_detached_input(fact: Fact) -> bool:
    return fact.stop in {"detach", "data"} and fact.before


def _leaves_autograd(fact: Fact) -> bool:
    return fact.stop in {"item", "float", "tolist", "numpy", "tensor"}


def _collective(fact: Fact) -> bool:
    return fact.stop == "collective"


def _unknown(_: Fact) -> bool:
    return True


def _never(_: Fact | Trait) -> bool:
    return False


#: what people call a statistic
PLAIN = {
    "var": "variance",
    "std": "standard deviation",
    "rms": "mean square",
    "max": "maximum",
    "min": "minimum",
    "logsumexp": "log-sum-exp",
}

BOTH = ("static", "runtime")

#: judged in this order; the first that applies reports the statistic
RULES: tuple[Rule, ...] = (
    Rule("BN001", "syntax-error", Severity.ERROR, ("static",), _never),
    Rule("BN002", "unused-suppression", Severity.WARNING, ("static",), _never),
    Rule("BN101", "detached-statistic", Severity.ERROR, BOTH, _statistic(_detached)),
    Rule("BN102", "statistic-without-grad", Severity.ERROR, BOTH, _statistic(_without_grad)),
    Rule("BN103", "statistic-of-detached-input", Severity.ERROR, BOTH, _statistic(_of_detached_input)),
    Rule("BN104", "statistic-leaves-autograd", Severity.ERROR, BOTH, _statistic(_leaves_autograd)),
    Rule("BN105", "undifferentiable-collective", Severity.ERROR, BOTH, _statistic(_collective)),
    Rule("BN106", "running-statistics-in-training", Severity.ERROR, BOTH, _trait(Kind.RUNNING_IN_TRAINING)),
    Rule("BN107", "unknown-stop", Severity.ERROR, ("runtime",), _statistic(_unknown)),
    Rule("BN201", "running-statistic-keeps-graph", Severity.ERROR, BOTH, _trait(Kind.KEEPS_GRAPH)),
    Rule("BN202", "running-statistic-not-a-buffer", Severity.WARNING, ("static",), _trait(Kind.NOT_A_BUFFER)),
    Rule("BN203", "running-statistics-never-updated", Severity.WARNING, ("static",), _trait(Kind.NEVER_UPDATED)),
    Rule("BN204", "batch-statistics-in-eval", Severity.NOTE, ("static",), _trait(Kind.BATCH_IN_EVAL)),
    Rule("BN205", "running-variance-biased", Severity.NOTE, ("static",), _trait(Kind.BIASED)),
    Rule("BN206", "momentum-reversed", Severity.NOTE, ("static",), _trait(Kind.MOMENTUM_REVERSED)),
    Rule("BN301", "unbiased-variance-normalizes", Severity.NOTE, ("static",), _trait(Kind.UNBIASED)),
    Rule("BN302", "eps-outside-root", Severity.WARNING, ("static",), _trait(Kind.EPS)),
    Rule("BN303", "wrong-reduction-axes", Severity.ERROR, ("static",), _trait(Kind.AXES)),
    Rule("BN304", "cancelling-variance", Severity.NOTE, ("static",), _trait(Kind.CANCELLING)),
    Rule("BN401", "lossy-conversion", Severity.WARNING, ("static",), _never),
)

BY_CODE: dict[str, Rule] = {rule.code: rule for rule in RULES}


def judge(fact: Fact | Trait, engine: str) -> Rule | None:
    """Return the rule that reports a fact, None where it is right or not known to be wrong."""
    return next((rule for rule in RULES if engine in rule.engines and rule.applies(fact)), None)


def severity(rule: Rule, fact: Fact | Trait) -> Severity:
    """Return how severe a fact is: that of its rule, or less where there is a purpose."""
    return rule.severity if fact.purpose is None else fact.purpose.severity
