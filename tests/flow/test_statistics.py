from __future__ import annotations

import pytest
from graphs import Graph

from bnlint.flow.graph import Kind, Mode
from bnlint.flow.leaves import MAX_PATHS, leaves
from bnlint.flow.reading import exponent, squares, train_args
from bnlint.flow.statistics import carried, centered_before, liveness, reduced


def test_liveness_starts_at_inputs_and_parameters_and_ends_at_stops() -> None:
    g = Graph()
    x, w, b, one = g.input(), g.parameter(), g.buffer(), g.number(1)
    live, also, dead = g.op("mul", x, b), g.op("add", w, one), g.op("add", b, one)
    stopped = g.stop(live)
    behind, beside = g.op("sqrt", stopped), g.op("sub", x, stopped)
    mask = g.op("gt", x, one)
    is_live = liveness(g.flow)
    assert all(is_live[n] for n in (x, w, live, also, beside))
    assert not any(is_live[n] for n in (b, one, dead, stopped, behind, mask))


def test_what_was_measured_wins_over_what_is_inferred() -> None:
    g = Graph()
    x = g.input()
    opaque = g.flow.add(Kind.OP, "opaque", [x], live=False)
    assert liveness(g.flow) == [True, False]
    assert liveness(g.flow)[opaque] is False


def test_only_branches_that_train_count() -> None:
    g = Graph()
    x = g.input()
    stopped = g.stop(x)
    both = g.merge((x, Mode.TRAIN), (stopped, Mode.EVAL))
    evaluated = g.merge((x, Mode.EVAL), (stopped, Mode.TRAIN))
    assert train_args(g.flow[both]) == (x,)
    assert liveness(g.flow)[both]
    assert not liveness(g.flow)[evaluated]


def test_values_are_carried_element_by_element_only() -> None:
    g = Graph()
    x = g.input()
    shifted, mixed, mean = g.op("sub", x, g.number(1)), g.op("conv2d", x), g.op("mean", x)
    behind = g.op("sqrt", g.stop(x))
    values, attached = carried(g.flow), carried(g.flow, liveness(g.flow))
    assert values[shifted] >> x & 1
    assert not values[mixed] >> x & 1
    assert not values[mean] >> x & 1
    assert values[behind] >> x & 1
    assert not attached[behind] >> x & 1


def test_exponents_and_squares() -> None:
    g = Graph()
    x, y = g.input(), g.input("y")
    assert exponent(g.flow, g.flow[g.op("pow", x, g.number(-0.5))]) == -0.5
    assert exponent(g.flow, g.flow[g.op("square", x)]) == 2
    assert exponent(g.flow, g.flow[g.op("pow", x, y)]) is None
    assert squares(g.flow, g.flow[g.op("mul", x, x)])
    assert squares(g.flow, g.flow[g.op("pow", x, g.number(2))])
    assert squares(g.flow, g.flow[g.op("pow", x, g.number(4))])
    assert not squares(g.flow, g.flow[g.op("mul", x, y)])
    assert not squares(g.flow, g.flow[g.op("pow", x, g.number(3))])
    assert not squares(g.flow, g.flow[g.op("pow", x, g.number(-2))])


class TestReduced:
    def test_layout_is_looked_through(self) -> None:
        g = Graph()
        x = g.input()
        view = g.op("reshape", x)
        assert reduced(g.flow, g.op("mean", view)).candidates == (view, x)

    def test_a_stop_before_the_reduction_is_told(self) -> None:
        g = Graph()
        x = g.input()
        stop = g.stop(x)
        found = reduced(g.flow, g.op("mean", g.op("reshape", stop)))
        assert found.stops == (stop,)
        assert found.candidates[-1] == x

    def test_mean_of_squares(self) -> None:
        g = Graph()
        x = g.input()
        found = reduced(g.flow, g.op("mean", g.op("mul", x, x)))
        assert (found.squared, found.centered, found.candidates) == (True, False, (x,))

    def test_mean_of_centered_squares(self) -> None:
        g = Graph()
        x = g.input()
        centered = g.op("sub", x, g.op("reshape", g.op("mean", x)))
        found = reduced(g.flow, g.op("mean", g.op("pow", centered, g.number(2))))
        assert (found.squared, found.centered, found.candidates[-1]) == (True, True, x)

    def test_mean_of_a_mean(self) -> None:
        g = Graph()
        x = g.input()
        inner = g.op("mean", x)
        assert reduced(g.flow, g.op("mean", inner)).candidates == (inner, x)

    def test_a_difference_of_two_tensors_is_a_tensor_of_its_own(self) -> None:
        g = Graph()
        x, y = g.input(), g.input("y")
        difference = g.op("sub", x, y)
        assert reduced(g.flow, g.op("mean", difference)).candidates == (difference,)

    def test_a_product_of_two_tensors_is_a_tensor_of_its_own(self) -> None:
        g = Graph()
        product = g.op("mul", g.input(), g.input("y"))
        assert reduced(g.flow, g.op("mean", product)).candidates == (product,)


class TestLeaves:
    @pytest.mark.parametrize(
        ("build", "inverted", "negative"),
        [
            (lambda g, m: m, False, False),
            (lambda g, m: g.op("neg", m), False, True),
            (lambda g, m: g.op("mul", m, g.number(-1)), False, True),
            (lambda g, m: g.op("mul", m, g.number(2)), False, False),
            (lambda g, m: g.op("sub", g.number(1), m), False, True),
            (lambda g, m: g.op("rsub", m, g.number(1)), False, True),
            (lambda g, m: g.op("rsqrt", m), True, False),
            (lambda g, m: g.op("reciprocal", g.op("sqrt", m)), True, False),
            (lambda g, m: g.op("div", g.number(1), m), True, False),
            (lambda g, m: g.op("rdiv", m, g.number(1)), True, False),
            (lambda g, m: g.op("pow", m, g.number(-0.5)), True, False),
            (lambda g, m: g.op("pow", m, g.number(0.5)), False, False),
            (lambda g, m: g.op("reciprocal", g.op("div", g.number(1), m)), False, False),
            (lambda g, m: g.op("clamp", g.op("reshape", g.op("add", m, g.number(1)))), False, False),
        ],
    )
    def test_sign_and_side(self, build, inverted: bool, negative: bool) -> None:  # type: ignore[no-untyped-def]
        g = Graph()
        mean = g.op("mean", g.input())
        (leaf,) = leaves(g.flow, build(g, mean))
        assert (leaf.reduction, leaf.inverted, leaf.negative) == (mean, inverted, negative)

    def test_stops_come_in_flow_order(self) -> None:
        g = Graph()
        first = g.stop(g.op("mean", g.input()))
        second = g.stop(g.op("sqrt", first), "data")
        (leaf,) = leaves(g.flow, g.op("add", second, g.number(1)))
        assert leaf.stops == (first, second)

    def test_one_entry_per_way(self) -> None:
        g = Graph()
        mean = g.op("mean", g.input())
        stop = g.stop(mean)
        found = leaves(g.flow, g.op("add", mean, stop))
        assert {leaf.stops for leaf in found} == {(), (stop,)}

    def test_what_mixes_values_ends_the_flow(self) -> None:
        g = Graph()
        mean = g.op("mean", g.input())
        assert leaves(g.flow, g.op("conv2d", mean)) == []
        assert leaves(g.flow, g.op("softmax", mean)) == []

    def test_too_many_paths_are_silence(self) -> None:
        g = Graph()
        node = g.op("mean", g.input())
        for _ in range(MAX_PATHS.bit_length()):
            node = g.op("add", g.stop(node), g.stop(node))
        assert leaves(g.flow, node) == []


def test_a_part_carries_values_but_its_statistic_is_its_own() -> None:
    g = Graph()
    x = g.input()
    part = g.op("part", x)
    masks = carried(g.flow)
    assert masks[part] & 1 << x
    assert reduced(g.flow, g.op("mean", part)).candidates == (part,)


def test_a_part_of_a_statistic_is_one() -> None:
    g = Graph()
    mean = g.op("mean", g.input())
    assert [leaf.reduction for leaf in leaves(g.flow, g.op("part", mean))] == [mean]


def test_a_part_is_centered_by_a_mean_of_the_whole_and_not_the_other_way_round() -> None:
    g = Graph()
    x = g.input()
    part = g.op("part", x)
    inside = g.op("mean", g.op("square", g.op("sub", part, g.op("mean", x))))
    outside = g.op("mean", g.op("square", g.op("sub", x, g.op("mean", part))))
    assert reduced(g.flow, inside).centered
    assert not reduced(g.flow, outside).centered


@pytest.mark.parametrize(("factors", "inverted"), [((-1.0,), True), ((-0.5, 2.0), True), ((-1.0, -1.0), False)])
def test_the_exponential_of_a_logarithm_inverts_by_its_sign(factors: tuple[float, ...], inverted: bool) -> None:
    g = Graph()
    value = g.stop(g.op("log", g.stop(g.op("std", g.input()))))
    for factor in factors:
        value = g.op("mul", g.number(factor), value)
    (leaf,) = leaves(g.flow, g.op("exp", g.op("reshape", value)))
    assert leaf.inverted is inverted
    assert not leaf.negative
    assert [g.flow[stop].kind for stop in leaf.stops] == [Kind.STOP, Kind.STOP]
    assert leaf.stops == tuple(sorted(leaf.stops))


def test_a_mean_is_zero_behind_the_same_mean_only() -> None:
    g = Graph()
    x = g.input()

    def mean(of: int, over: str | None) -> int:
        return g.flow.add(Kind.OP, "mean", [of], attributes={} if over is None else {"over": over})

    first = mean(x, "0")
    centered = g.op("sub", x, g.op("reshape", first))
    stopped = g.op("sub", x, g.stop(first))
    assert centered_before(g.flow, mean(centered, "0"))
    assert not centered_before(g.flow, mean(centered, "1"))
    assert not centered_before(g.flow, mean(centered, None))
    assert not centered_before(g.flow, mean(stopped, "0"))
    assert not centered_before(g.flow, mean(g.op("reshape", centered), "0"))
    assert not centered_before(g.flow, mean(g.op("sub", g.input("y"), first), "0"))


def test_a_reduction_of_branches_that_never_train() -> None:
    g = Graph()
    x = g.input()
    mean = g.op("mean", g.merge((g.stop(x), Mode.EVAL), (x, Mode.EVAL)))
    assert reduced(g.flow, mean).stops == ()
