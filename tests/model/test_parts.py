"""Parts of a tensor in a recorded step: the same part taken twice, and parts of what was put together."""

import pytest
import torch
from inline import block

from bnlint.model.check import check_model

OVER = {"dim": (0, 2, 3), "keepdim": True}


def split_again(x, stop):
    """Two halves, each normalized by its own mean, the first of which may be stopped."""
    mean = stop(x.split(2, 1)[0].mean(**OVER))
    first, second = x.split(2, 1)[0] - mean, x.split(2, 1)[1]
    return torch.cat([first, second - second.mean(**OVER)], 1)


def unbound_again(x, stop):
    mean = stop(x.unbind(1)[0].mean())
    return torch.stack([x.unbind(1)[0] - mean, *x.unbind(1)[1:]], 1)


def sliced_again(x, stop):
    mean = stop(x[:, :2].mean(**OVER))
    return torch.cat([x[:, :2] - mean, x[:, 2:]], 1)


AGAIN = {"split": split_again, "unbind": unbound_again, "slice": sliced_again}


@pytest.mark.parametrize("function", AGAIN.values(), ids=AGAIN)
def test_the_same_part_taken_again_is_the_same_tensor(function):
    model, x = block(function, torch.detach)
    (finding,) = check_model(model, x)

    assert (finding.code, finding.statistic) == ("BN101", "mean")
    # One lost direction of the many that a part has: far from all of its gradient.
    assert 1e-2 < finding.measurement.error < 0.5


@pytest.mark.parametrize("function", AGAIN.values(), ids=AGAIN)
def test_it_is_right_without_a_stop(function):
    model, x = block(function, torch.clone)

    assert check_model(model, x) == []


@pytest.mark.parametrize("divide", [lambda x: x.split(2, 1), lambda x: x.chunk(2, 1), lambda x: x.tensor_split(2, 1)])
def test_the_other_part_of_a_second_call_is_another_tensor(divide):
    def function(x, stop):
        return torch.cat([divide(x)[0] - stop(divide(x)[1].mean(**OVER)), divide(x)[1]], 1)

    model, x = block(function, torch.detach)

    assert check_model(model, x) == []


def flat(x):
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)


def applied(x, mean, var):
    return (x - mean.view(1, -1, 1, 1)) / (var.view(1, -1, 1, 1) + 1e-5).sqrt()


def halves(s):
    return s[:4], s[4:]


#: how mean and variance are put together, and taken apart again
TOGETHER = {
    "stack, unbind": (torch.stack, lambda s: s.unbind()),
    "stack, unpacked": (torch.stack, tuple),
    "stack, indices": (torch.stack, lambda s: (s[0], s[-1])),
    "stack, indices behind dots": (lambda each: torch.stack(each, -1), lambda s: (s[..., 0], s[:, 1])),
    "stack, select": (lambda each: torch.stack(each, dim=1), lambda s: (s.select(1, 0), s.select(-1, 1))),
    "stack, split": (torch.stack, lambda s: s.split(1)),
    "cat, chunk": (torch.cat, lambda s: s.chunk(2)),
    "cat, split": (torch.cat, lambda s: torch.split(s, [4, 4])),
    "cat, tensor_split": (torch.cat, lambda s: s.tensor_split(2)),
    "cat, slices": (torch.cat, halves),
    "cat, narrow": (torch.cat, lambda s: (s.narrow(0, 0, 4), s.narrow(0, -4, 4))),
}


@pytest.mark.parametrize(("join", "divide"), TOGETHER.values(), ids=TOGETHER)
def test_each_statistic_of_those_that_are_stopped_together_is_named(join, divide):
    model, x = block(lambda x, stop: applied(x, *divide(stop(join(flat(x))))), torch.detach)
    findings = check_model(model, x)

    assert [(f.code, f.statistic) for f in findings] == [("BN101", "mean"), ("BN101", "var")]
    assert all(f.measurement.exact for f in findings)


@pytest.mark.parametrize(("join", "divide"), TOGETHER.values(), ids=TOGETHER)
def test_none_is_where_they_are_not(join, divide):
    model, x = block(lambda x, stop: applied(x, *divide(stop(join(flat(x))))), torch.clone)

    assert check_model(model, x) == []


@pytest.mark.parametrize(("join", "divide"), TOGETHER.values(), ids=TOGETHER)
def test_only_the_stopped_one_is_named_where_one_is(join, divide):
    def function(x, stop):
        mean, var = flat(x)
        return applied(x, *divide(join((mean, stop(var)))))

    model, x = block(function, torch.detach)

    assert [f.statistic for f in check_model(model, x)] == ["var"]


def test_statistics_that_are_put_together_without_gradients_are_both_named():
    def function(x, stop):
        with torch.no_grad():
            mean, var = torch.stack(flat(x)).unbind()
        return applied(x, mean, var)

    model, x = block(function, None)

    assert [(f.code, f.statistic) for f in check_model(model, x)] == [("BN102", "mean"), ("BN102", "var")]
