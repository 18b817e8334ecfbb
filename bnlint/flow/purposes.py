"""Why a stopped statistic may be meant, or do little harm: the reason is told, and the finding is not an error."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bnlint.finding import Severity
from bnlint.flow.analysis import Analysis
from bnlint.flow.graph import FlowGraph, Kind
from bnlint.flow.ops import EXTREMES, Role, role


@dataclass(frozen=True, slots=True)
class Purpose:
    """A reason why a stop is less than an error, and how much less.

    Attributes:
        severity: `note` for a stop on purpose or without effect, `warning` for bounded harm.
        reason: The reason, as the finding's message ends.
    """

    severity: Severity
    reason: str


GIVEN_BACK = Purpose(
    Severity.NOTE, "meant: it is given back after it was taken out, as in reversible normalization and quantization"
)
RENORMALIZED = Purpose(
    Severity.NOTE, "meant: batch renormalization corrects live statistics by it (Ioffe 2017, arXiv:1702.03275)"
)
SWITCHED = Purpose(Severity.NOTE, "meant: a flag decides whether its gradient is stopped")
ABSORBED = Purpose(Severity.NOTE, "harmless: the normalization that follows takes this factor or shift out again")
RAW = Purpose(Severity.NOTE, "harmless if this input is raw data: no parameter comes before it that could learn")
FACTOR = Purpose(Severity.NOTE, "harmless where a normalization follows: all that this layer does is take out a factor")
COMMENTED = Purpose(Severity.NOTE, "meant: a comment beside it says so")
WEIGHT = Purpose(Severity.WARNING, "the harm is bounded: it normalizes a weight, not an activation")
LOSS = Purpose(Severity.WARNING, "the harm is bounded: it normalizes what a loss compares")

#: names of inputs that are data of a series, not activations
_RAW = re.compile(
    r"(x_enc|x_dec|x_mark\w*|batch_x|insample\w*|outsample\w*|series|time_?series|history\w*|past_\w+|lookback\w*|seq_x)$"
)
_SCALERS = re.compile(r"(scaler|revin|reversible|standardi[sz]er|denormali[sz]e)", re.IGNORECASE)
_LOSSES = re.compile(r"(loss|criterion|objective|penalty|regulari[sz]|divergence)", re.IGNORECASE)
_WEIGHTS = re.compile(r"(w|weights?|kernel|\w+_weight|weight_\w+)$")
#: functions and layers that normalize each sample: a factor or shift of their input has no effect
_ABSORBING = re.compile(r"(layer_?norm|rms_?norm|normalize|cosine_similarity|(^|_)(norm|ln))_?\d*$", re.IGNORECASE)


def purpose_of(analysis: Analysis, reduction: int, use: int, given_back: bool) -> Purpose | None:
    """Say why the stop of a statistic may be less than an error, None where nothing says so.

    Args:
        analysis: The graph that it is in.
        reduction: The node that computes the statistic.
        use: The node that applies it to its own input.
        given_back: Whether it is also given back where it was taken out.
    """
    graph = analysis.graph
    tensor = graph[analysis.sources[reduction].candidates[-1]]
    symbol = graph[use].origin.symbol or ""
    if given_back:
        return GIVEN_BACK
    if absorbed(analysis, use):
        return ABSORBED
    if tensor.kind is Kind.INPUT and graph[reduction].name in EXTREMES and _is_all(analysis, reduction, use):
        return FACTOR
    if tensor.kind is Kind.INPUT and (_RAW.match(tensor.name) or _SCALERS.search(symbol)):
        return RAW
    if not analysis.derived[tensor.index] or (tensor.kind is Kind.INPUT and _WEIGHTS.match(tensor.name)):
        return WEIGHT
    return LOSS if _LOSSES.search(symbol) else None


def weighs_a_loss(graph: FlowGraph, reduction: int, purpose: Purpose | None) -> bool:
    """Whether a statistic is one number, over everything, inside of a loss: it weighs a term, it normalizes nothing."""
    return purpose == LOSS and graph[reduction].attributes.get("over") == ""


def _is_all(analysis: Analysis, reduction: int, use: int) -> bool:
    """Whether a function does nothing but to apply a statistic to its input."""
    users = analysis.users[use]
    source = analysis.sources[reduction]
    # A largest magnitude is a size, and what is divided by it is normalized.
    untouched = analysis.graph[use].args[0] in source.candidates and not source.squared
    return untouched and bool(users) and all(analysis.graph[user].kind is Kind.OUTPUT for user in users)


def absorbed(analysis: Analysis, use: int) -> bool:
    """Whether everything made of a normalized tensor goes into another normalization first."""
    todo, any_user = [use], False
    while todo:
        for index in analysis.users[todo.pop()]:
            any_user = True
            user = analysis.graph[index]
            if user.kind is Kind.OP and _ABSORBING.search(str(user.attributes.get("callee", user.name))):
                continue
            if user.kind is not Kind.OP or role(user.name) not in {Role.SHAPE, Role.PART}:
                return False
            todo.append(index)
    return any_user


def switched(analysis: Analysis, reduction: int, use: int, stops: tuple[int, ...]) -> bool:
    """Whether a branch that no mode decides makes the difference between a stopped and a live statistic."""
    if analysis.sources[reduction].optional:
        return True
    stopped = sum(1 << stop for stop in stops)
    behind = analysis.values[use]
    for node in analysis.graph:
        if node.kind is Kind.MERGE and node.attributes.get("switch") and behind >> node.index & 1:
            through = [bool(analysis.values[arg] & stopped) for arg in node.args]
            flows = [analysis.live[arg] for arg in node.args if not analysis.values[arg] & stopped]
            if any(through) and any(flows):
                return True
    return False
