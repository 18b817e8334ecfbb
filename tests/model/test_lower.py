import inspect

import pytest
import torch
from torch import nn

from bnlint.flow.graph import Kind
from bnlint.model.capture import capture
from bnlint.model.lower import location_of, lower
from bnlint.model.reductions import reduction_attributes


class Run(nn.Module):
    """A function of an image as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("running_mean", torch.zeros(4))

    def forward(self, x):
        return self.function(self, x)


def recorded(function, shape=(3, 4, 5, 5)):
    return capture(Run(function), (torch.randn(shape),)).graph_module


def nodes(function, *kinds):
    return [n for n in lower(recorded(function)).graph if n.kind in kinds]


def operations(function):
    return [n.name for n in nodes(function, Kind.OP)]


@pytest.mark.parametrize(
    "function",
    [
        lambda m, x: x - x.mean(),
        lambda m, x: torch.sub(x, x.mean()),
        lambda m, x: x.sub(torch.mean(x)),
        lambda m, x: torch.subtract(x, other=x.mean()),
        lambda m, x: x.clone().sub_(x.mean()),
    ],
)
def test_every_spelling_lowers_to_one_name(function):
    assert [name for name in operations(function) if name != "reshape"] == ["mean", "sub"]


def test_numbers_are_constants_in_their_place():
    (power,) = [n for n in nodes(lambda m, x: (x**2 + 1e-3).sum(), Kind.OP) if n.name == "pow"]
    graph = lower(recorded(lambda m, x: 2.0 - x)).graph
    minus = next(n for n in graph if n.name in {"sub", "rsub"})

    assert len(power.args) == 2
    assert {n.attributes["value"] for n in nodes(lambda m, x: (x**2 + 1e-3).sum(), Kind.CONSTANT)} == {2, 1e-3}
    assert 2.0 in [graph[arg].attributes.get("value") for arg in minus.args]


@pytest.mark.parametrize(
    ("reduce", "dims", "keepdim", "correction"),
    [
        (lambda x: x.mean(), None, False, None),
        (lambda x: x.mean((0, 2, 3)), (0, 2, 3), False, None),
        (lambda x: x.mean([-1, -2, 0], keepdim=True), (0, 2, 3), True, None),
        (lambda x: torch.mean(x, dim=1), (1,), False, None),
        (lambda x: torch.mean(input=x, dim=1), (1,), False, None),
        (lambda x: x.mean(axis=-1, keepdim=True), (3,), True, None),
        (lambda x: x.var((0, 2, 3)), (0, 2, 3), False, 1),
        (lambda x: x.var((0, 2, 3), unbiased=False), (0, 2, 3), False, 0),
        (lambda x: x.var((0, 2, 3), False), (0, 2, 3), False, 0),
        (lambda x: x.var((0, 2, 3), False, True), (0, 2, 3), True, 0),
        (lambda x: x.var(False), None, False, 0),
        (lambda x: torch.std(x, dim=(2, 3), correction=0, keepdim=True), (2, 3), True, 0),
        (lambda x: x.std(), None, False, 1),
        (lambda x: torch.norm(x, 2, dim=-1, keepdim=True), (3,), True, None),
    ],
)
def test_attributes_of_a_reduction(reduce, dims, keepdim, correction):
    module = recorded(lambda m, x: x - reduce(x).sum())
    node = next(
        n for n in module.graph.nodes if "dim" in str(n.kwargs) or n.name.startswith(("mean", "var", "std", "norm"))
    )

    found = reduction_attributes(node)

    assert found == {"dims": dims, "keepdim": keepdim, "correction": correction, "rank": 4}


@pytest.mark.parametrize("divide", [lambda x: x.chunk(2, 1), lambda x: x.split(2, dim=1), lambda x: torch.unbind(x, 1)])
def test_each_part_of_a_tensor_is_a_tensor_of_its_own(divide):
    graph = lower(recorded(lambda m, x: divide(x)[0] - divide(x)[1].mean())).graph
    mean, minus = (next(node for node in graph if node.name == name) for name in ("mean", "sub"))

    parts = {minus.args[0], mean.args[0]}
    assert len(parts) == 2 and {graph[part].name for part in parts} == {"part"}


def test_what_is_mixed_in_place_is_made_of_both():
    def mixed(m, x):
        held = torch.zeros_like(x.mean())
        held.lerp_(x.mean(), 1.0)
        return x - held

    assert operations(mixed).count("where") == 1


def test_var_mean_is_two_statistics():
    def both(m, x):
        var, mean = torch.var_mean(x, dim=(0, 2, 3), keepdim=True, correction=0)
        return (x - mean) * torch.rsqrt(var + 1e-5)

    found = {n.name: n for n in nodes(both, Kind.OP)}

    assert {"var", "mean"} <= set(found)
    assert found["mean"].index in found["sub"].args
    assert found["var"].attributes["correction"] == 0


@pytest.mark.parametrize(
    ("stop", "name"),
    [
        (lambda t: t.detach(), "detach"),
        (lambda t: t.data, "data"),
        (lambda t: torch.tensor(t.item()), "item"),
        (lambda t: torch.tensor(float(t)), "float"),
        (lambda t: torch.tensor(t.tolist()), "tolist"),
        (lambda t: torch.from_numpy(t.detach().numpy().copy()), "detach"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_stops_have_their_kind_and_carry_no_gradient(stop, name):
    found = nodes(lambda m, x: x - stop(x.mean()), Kind.STOP)

    assert found[0].name == name
    assert found[0].live is False


@pytest.mark.parametrize(
    ("mode", "name"),
    [(torch.no_grad, "no_grad"), (torch.inference_mode, "inference_mode")],
    ids=["no_grad", "inference"],
)
def test_what_runs_without_gradients_has_a_stop_behind_it(mode, name):
    def function(m, x):
        with mode():
            mean = x.mean()
        return x - mean

    (stop,) = nodes(function, Kind.STOP)
    graph = lower(recorded(function)).graph

    assert stop.name == name
    assert graph[stop.args[0]].name == "mean"
    assert next(n for n in graph if n.name == "sub").args[1] == stop.index


def test_updates_of_a_buffer_are_stores_and_the_buffer_stays_itself():
    def function(m, x):
        with torch.no_grad():
            m.running_mean.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)))
        return x - m.running_mean[None, :, None, None]

    graph = lower(recorded(function)).graph
    use = next(n for n in graph if n.name == "sub")

    assert "running_mean" in {n.name for n in graph if n.kind is Kind.STORE}
    value = graph[use.args[1]]
    while value.args:
        value = graph[value.args[0]]
    assert (value.kind, value.name) == (Kind.BUFFER, "running_mean")


def test_parameters_and_inputs_keep_their_names():
    graph = lower(recorded(lambda m, x: x * m.weight[None, :, None, None])).graph

    assert [n.name for n in graph if n.kind is Kind.PARAMETER] == ["weight"]
    assert (graph[0].kind, graph[len(graph) - 1].kind) == (Kind.INPUT, Kind.OUTPUT)


def test_every_node_knows_the_line_that_made_it():
    def function(m, x):
        mean = x.mean()
        return x - mean

    start = inspect.getsourcelines(function)[1]
    lowered = lower(recorded(function))
    where = {n.name: n.origin.location for n in lowered.graph if n.kind is Kind.OP}

    assert where["mean"].line == start + 1 and where["sub"].line == start + 2
    assert all(location.path == __file__ for location in where.values())
    (mean,) = [n for n in lowered.graph if n.name == "mean"]
    assert location_of(lowered.nodes[mean.index]) == mean.origin.location
    assert mean.origin.symbol.endswith("function")
