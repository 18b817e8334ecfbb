"""The first merge rule on graphs written by hand."""

from __future__ import annotations

from graphs import Graph

from bnlint.flow.graph import Kind, Mode
from bnlint.flow.ops import DECLARED
from bnlint.flow.purposes import GIVEN_BACK
from bnlint.flow.sites import Statistic, attributes_given, find_sites
from bnlint.flow.traits import Gradient


def statistics(g: Graph) -> dict[str, Statistic]:
    found = [s for site in find_sites(g.flow) for s in site.statistics]
    assert len({s.name for s in found}) == len(found)
    return {s.name: s for s in found}


def gradients(g: Graph) -> dict[str, Gradient]:
    return {name: statistic.gradient for name, statistic in statistics(g).items()}


def test_batch_norm_that_flows() -> None:
    g = Graph()
    x = g.input()
    mean, var = g.op("mean", x), g.op("var", x)
    centered = g.op("sub", x, mean)
    g.output(g.op("div", centered, g.op("sqrt", g.op("add", var, g.number(1e-5)))))
    assert gradients(g) == {"mean": Gradient.FLOWS, "var": Gradient.FLOWS}
    (site,) = find_sites(g.flow)
    assert site.input == x


def test_batch_norm_that_is_stopped() -> None:
    g = Graph()
    x = g.input()
    mean, var = g.op("mean", x), g.op("var", x)
    stop_mean, stop_var = g.stop(mean), g.stop(var, "data")
    use = g.op("sub", x, stop_mean)
    g.output(g.op("div", use, g.op("sqrt", stop_var)))
    found = statistics(g)
    assert {s.gradient for s in found.values()} == {Gradient.STOPPED}
    assert found["mean"].stops == (stop_mean,)
    assert found["mean"].reduction == mean
    assert found["mean"].use == use
    assert found["var"].stops == (stop_var,)


def test_the_first_stop_is_the_cause() -> None:
    g = Graph()
    x = g.input()
    first = g.stop(x)
    second = g.stop(g.op("mean", first))
    g.output(g.op("sub", x, second))
    assert statistics(g)["mean"].stops == (first, second)


def test_folded_into_scale_and_shift() -> None:
    g = Graph()
    x, weight, bias = g.input(), g.parameter(), g.parameter("bias")
    mean, var = g.stop(g.op("mean", x)), g.stop(g.op("var", x))
    scale = g.op("mul", weight, g.op("rsqrt", var))
    shift = g.op("sub", bias, g.op("mul", mean, scale))
    g.output(g.op("add", g.op("mul", x, scale), shift))
    assert gradients(g) == {"mean": Gradient.STOPPED, "var": Gradient.STOPPED}


def test_root_mean_square() -> None:
    g = Graph()
    x = g.input()
    square = g.stop(g.op("mean", g.op("pow", x, g.number(2))))
    g.output(g.op("mul", x, g.op("rsqrt", square)))
    assert gradients(g) == {"rms": Gradient.STOPPED}


def test_mean_of_squares_is_a_variance_beside_a_mean() -> None:
    g = Graph()
    x = g.input()
    mean = g.op("mean", x)
    var = g.op("sub", g.op("mean", g.op("mul", x, x)), g.op("pow", g.stop(mean), g.number(2)))
    g.output(g.op("div", g.op("sub", x, mean), g.op("sqrt", var)))
    assert gradients(g) == {"mean": Gradient.STOPPED, "var": Gradient.FLOWS}


def test_a_stopped_mean_inside_a_centered_variance_does_no_harm() -> None:
    g = Graph()
    x = g.input()
    mean = g.op("mean", x)
    inner = g.op("sub", x, g.stop(mean))
    var = g.op("mean", g.op("mul", inner, inner))
    g.output(g.op("div", g.op("sub", x, mean), g.op("sqrt", var)))
    assert gradients(g) == {"mean": Gradient.FLOWS, "var": Gradient.FLOWS}


def test_a_shift_before_softmax_does_no_harm() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("softmax", g.op("sub", x, g.stop(g.op("mean", x)))))
    assert find_sites(g.flow) == []


def test_a_branch_that_may_be_stopped_is_unknown() -> None:
    g = Graph()
    x = g.input()
    mean = g.op("mean", x)
    g.output(g.op("sub", x, g.merge((mean, Mode.BOTH), (g.stop(mean), Mode.BOTH))))
    assert gradients(g) == {"mean": Gradient.UNKNOWN}


def test_a_stop_in_eval_alone_is_none() -> None:
    g = Graph()
    x = g.input()
    mean = g.op("mean", x)
    g.output(g.op("sub", x, g.merge((mean, Mode.TRAIN), (g.stop(mean), Mode.EVAL))))
    assert gradients(g) == {"mean": Gradient.FLOWS}


def test_a_use_in_eval_alone_is_none() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("sub", x, g.stop(g.op("mean", x)), mode=Mode.EVAL))
    assert find_sites(g.flow) == []


def test_what_never_reaches_the_output_is_no_site() -> None:
    g = Graph()
    x = g.input()
    g.store("log", g.op("sub", x, g.stop(g.op("mean", x))))
    g.output(x)
    assert find_sites(g.flow) == []


def test_the_statistic_of_another_tensor_is_no_normalization() -> None:
    g = Graph()
    x, y = g.input(), g.input("y")
    g.output(g.op("sub", x, g.stop(g.op("mean", y))))
    assert find_sites(g.flow) == []


def test_an_input_behind_a_layer_is_another_tensor() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("sub", g.op("conv2d", x), g.stop(g.op("mean", x))))
    assert find_sites(g.flow) == []


def test_running_statistics_are_no_statistics_of_the_input() -> None:
    g = Graph()
    x, running = g.input(), g.buffer()
    g.store("running_mean", g.stop(g.op("mean", x)))
    g.output(g.op("sub", x, running))
    assert find_sites(g.flow) == []


def test_a_stopped_tensor_is_not_normalized_in_training() -> None:
    g = Graph()
    x = g.stop(g.input())
    g.output(g.op("add", g.op("sub", x, g.op("mean", x)), g.parameter()))
    assert find_sites(g.flow) == []


def test_a_mean_that_is_added_does_not_center() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("add", x, g.stop(g.op("mean", x))))
    assert find_sites(g.flow) == []


def test_a_negated_mean_that_is_added_centers() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("add", x, g.op("neg", g.stop(g.op("mean", x)))))
    assert gradients(g) == {"mean": Gradient.STOPPED}


def test_a_difference_of_levels_is_not_division() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("mul", x, g.stop(g.op("var", x))))
    assert find_sites(g.flow) == []


def test_the_scale_of_a_mean_alone_is_no_normalization() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("div", x, g.stop(g.op("mean", x))))
    assert find_sites(g.flow) == []


def test_a_statistic_that_is_given_back_says_so() -> None:
    g = Graph()
    x = g.input()
    mean, std = g.stop(g.op("mean", x)), g.stop(g.op("std", x))
    inside = g.op("linear", g.op("div", g.op("sub", x, mean), std))
    g.output(g.op("add", g.op("mul", inside, std), mean))
    assert {name: s.purpose for name, s in statistics(g).items()} == {"mean": GIVEN_BACK, "std": GIVEN_BACK}


def test_a_normalized_tensor_that_is_added_to_its_own_negative_gives_no_mean_back() -> None:
    g = Graph()
    x, cos, sin = g.input(), g.input("cos"), g.input("sin")
    centered = g.op("sub", x, g.stop(g.op("mean", x)))
    turned = g.op("where", g.op("neg", g.op("part", centered)), g.op("part", centered))
    g.output(g.op("add", g.op("mul", centered, cos), g.op("mul", turned, sin)))
    assert statistics(g)["mean"].purpose is None


def test_attributes_are_given_where_they_multiply_or_are_added() -> None:
    g = Graph()
    mean, std, seen = (g.flow.add(Kind.CONSTANT, f"self.{name}") for name in ("mean", "std", "seen"))
    x = g.op("sub", g.input(), seen)
    g.output(g.op("add", g.op("mul", x, std), mean))
    assert attributes_given(g.flow) == {"mean", "std"}


def test_the_order_of_the_operands_does_not_matter() -> None:
    g = Graph()
    x = g.input()
    centered = g.op("sub", g.stop(g.op("mean", x)), x)
    g.output(g.op("mul", g.op("rsqrt", g.stop(g.op("var", x))), centered))
    assert gradients(g) == {"mean": Gradient.STOPPED, "var": Gradient.STOPPED}


def test_a_declared_statistic_has_a_name_for_people() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("sub", x, g.stop(g.op(DECLARED, x))))
    assert list(statistics(g)) == ["statistic"]


def test_weight_and_bias_do_not_count_as_given_back() -> None:
    g = Graph()
    x, weight, bias = g.input(), g.parameter(), g.parameter("bias")
    mean, std = g.stop(g.op("mean", x)), g.stop(g.op("std", x))
    scale = g.op("div", weight, std)
    g.output(g.op("add", g.op("mul", x, scale), g.op("sub", bias, g.op("mul", mean, scale))))
    assert {name: s.purpose for name, s in statistics(g).items()} == {"mean": None, "std": None}


def test_functional_batch_norm_with_computed_statistics() -> None:
    g = Graph()
    x = g.input()
    g.output(g.op("batch_norm", x, g.stop(g.op("mean", x)), g.op("var", x)))
    assert gradients(g) == {"mean": Gradient.STOPPED, "var": Gradient.FLOWS}


def test_two_normalizations_are_two_sites() -> None:
    g = Graph()
    x = g.input()
    h = g.op("conv2d", g.op("sub", x, g.op("mean", x)))
    g.output(g.op("sub", h, g.stop(g.op("mean", h))))
    first, second = find_sites(g.flow)
    assert (first.input, second.input) == (x, h)
    assert [s.gradient for site in (first, second) for s in site.statistics] == [Gradient.FLOWS, Gradient.STOPPED]


def test_nothing_in_nothing_out() -> None:
    assert find_sites(Graph().flow) == []
