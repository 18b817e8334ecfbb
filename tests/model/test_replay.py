import pytest
import torch
from stops import batch, net
from torch import nn

from bnlint.model.capture import capture
from bnlint.model.replay import Replay, set_attribute, set_item, written
from bnlint.model.state import preserved


def gradient(output, leaf):
    return torch.autograd.grad(output.square().sum(), leaf)[0]


@pytest.mark.parametrize("kind", ["no_grad", "inference_mode"])
def test_each_node_runs_in_its_recorded_mode_and_the_callers_mode_comes_back(kind):
    found = capture(net(kind), (batch(),))
    leaf = batch().requires_grad_()
    theirs = gradient(net(kind)(leaf), leaf)
    with torch.no_grad():
        output = Replay(found.graph_module).run(leaf)[0]
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(gradient(output, leaf), theirs)
    plain = gradient(fxless(found, leaf), leaf)
    assert (plain - theirs).norm() > 0.01 * theirs.norm()  # run without the modes, the stop is lost


def fxless(found, leaf):
    with torch.enable_grad():
        return torch.fx.Interpreter(found.graph_module).run(leaf)[0]


def test_autocast_is_entered_only_where_it_was_on():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)

        def forward(self, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                h = self.first(x)
            return self.second(h.float())

    model = Mixed()
    found = capture(model, (torch.randn(2, 4),))
    x = torch.randn(2, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Replay(found.graph_module).run(x)[0].dtype == torch.float32
    torch.testing.assert_close(Replay(found.graph_module).run(x)[0], model(x), rtol=0, atol=0)


def test_a_replay_updates_the_buffers_of_the_graph_and_not_of_the_model():
    model = nn.Sequential(nn.BatchNorm2d(3))
    found = capture(model, (batch(),))
    with preserved(found.graph_module):
        Replay(found.graph_module).run(batch())
    assert torch.equal(found.graph_module.get_buffer("0.running_mean"), torch.zeros(3))
    Replay(found.graph_module).run(batch())
    assert not torch.equal(found.graph_module.get_buffer("0.running_mean"), torch.zeros(3))
    assert torch.equal(model[0].running_mean, torch.zeros(3))


def test_numbers_that_left_the_graph_are_computed_again():
    found = capture(net("tolist"), (batch(1),))
    assert found.unfaithful is None
    torch.testing.assert_close(Replay(found.graph_module).run(batch(5, size=3))[0], net("tolist")(batch(5, size=3)))


def test_stores_return_what_they_change():
    tensor = torch.zeros(2)
    assert set_item(tensor, 0, 1.0) is tensor
    assert tensor.tolist() == [1.0, 0.0]
    assert set_attribute(tensor, "data", torch.ones(3)) is tensor
    assert tensor.shape == (3,)
    assert written(tensor, None) is tensor
