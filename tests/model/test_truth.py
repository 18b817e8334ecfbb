import pytest
import torch
from stops import StoppedNorm
from torch import nn

from bnlint.flow.graph import Kind
from bnlint.flow.sites import find_sites
from bnlint.model.capture import capture
from bnlint.model.lower import lower
from bnlint.model.replay import Replay
from bnlint.model.truth import removable, unstopped

REMOVABLE = [
    "detach",
    "dictionary",
    "detach_in_place",
    "data",
    "variable",
    "no_grad",
    "no_grad_decorator",
    "inference_mode",
    "inference_mode_clone",
    "inference_mode_mean",
    "set_grad_enabled",
    "detached_input",
    "dlpack_round_trip",
]
NOT_REMOVABLE = ["item", "item_per_channel", "python_float", "tolist", "torch_tensor", "new_tensor"]


def batch():
    return torch.randn(5, 4, 3, 3, dtype=torch.float64)


def statistics_of(lowered):
    return [s for site in find_sites(lowered.graph) for s in site.statistics]


def gradient(run, x):
    out = run(x := x.clone().requires_grad_())
    cotangent = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(5))
    return torch.autograd.grad(out, x, cotangent)[0]


def without(layer, x, names=None):
    """The gradient through the layer's recorded graph without the stops of the statistics in `names`."""
    captured = capture(layer, (x,))
    lowered = lower(captured.graph_module)
    statistics = [s for s in statistics_of(lowered) if names is None or s.name in names]
    assert removable(lowered, statistics)
    graph = unstopped(captured.graph_module, lowered, statistics)
    assert [n.op for n in captured.graph_module.graph.nodes].count("output") == 1  # the original is still whole
    return gradient(lambda leaf: Replay(graph).run(leaf.clone())[0], x)


def twin(layer, kind):
    other = StoppedNorm(4, kind).double()
    other.load_state_dict(layer.state_dict())
    return other


@pytest.mark.parametrize("kind", REMOVABLE)
def test_without_its_stops_a_graph_has_the_gradient_of_the_live_layer(kind):
    layer, x = StoppedNorm(4, kind).double(), batch()

    true = gradient(twin(layer, "live"), x)

    assert float((gradient(layer, x) - true).norm()) > 1e-2 * float(true.norm())
    torch.testing.assert_close(without(layer, x), true, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", NOT_REMOVABLE)
def test_numbers_that_left_for_python_cannot_be_put_back(kind):
    lowered = lower(capture(StoppedNorm(4, kind).double(), (batch(),)).graph_module)

    assert statistics_of(lowered)
    assert not removable(lowered, statistics_of(lowered))


@pytest.mark.parametrize("kind", ["detach", "no_grad", "data", "detached_input"])
def test_the_stop_of_one_statistic_alone_is_taken_out(kind):
    layer, x = StoppedNorm(4, kind).double(), batch()

    # inference_mode_mean stops the mean and lets the variance through
    expected = gradient(twin(layer, "inference_mode_mean"), x)

    torch.testing.assert_close(without(layer, x, {"var"}), expected, rtol=1e-10, atol=1e-12)


class Logging(nn.Module):
    """A stopped mean, and stops that are none of its business."""

    def __init__(self):
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(4))
        self.gate = nn.Parameter(torch.ones(4))

    def forward(self, x):
        mean = x.mean((0, 2, 3))
        self.running_mean.lerp_(mean.detach(), 0.1)
        self.seen = mean.detach().clone()
        out = x - mean.detach()[None, :, None, None]
        return out * torch.sigmoid(out.detach()) * self.gate[None, :, None, None]


class LiveLogging(Logging):
    def forward(self, x):
        out = x - x.mean((0, 2, 3))[None, :, None, None]
        return out * torch.sigmoid(out.detach()) * self.gate[None, :, None, None]


def test_every_other_stop_stays():
    layer, x = Logging().double(), batch()

    torch.testing.assert_close(without(layer, x), gradient(LiveLogging().double(), x), rtol=1e-10, atol=1e-12)


def test_the_recorded_graph_itself_does_not_change():
    layer, x = StoppedNorm(4, "no_grad").double(), batch()
    captured = capture(layer, (x,))
    lowered = lower(captured.graph_module)

    unstopped(captured.graph_module, lowered, statistics_of(lowered))

    seen = gradient(lambda leaf: Replay(captured.graph_module).run(leaf.clone())[0], x)
    torch.testing.assert_close(seen, gradient(layer, x))
    assert any(node.kind is Kind.STOP for node in lower(captured.graph_module).graph)
