"""Optimizer states and state dicts follow a model whose parameters take other shapes and names."""

import copy

import pytest
import torch
from torch import nn

from bnlint.checkpoint.follow import follow, held, moves
from bnlint.checkpoint.state_dicts import state_dicts
from bnlint.errors import RepairError


class Wide(nn.Module):
    """A batch norm by hand whose parameters have the shape (1, C, 1, 1), the shift before the scale."""

    def __init__(self, channels, stop=False, shape=None):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape or (1, channels, 1, 1)))
        self.gamma = nn.Parameter(torch.ones(shape or (1, channels, 1, 1)))
        self.stop = stop

    def forward(self, x):
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        if self.stop:
            mean, var = mean.detach(), var.detach()
        wide = (1, -1, 1, 1)
        return (x - mean) / (var + 1e-5).sqrt() * self.gamma.view(wide) + self.bias.view(wide)


class Flat(Wide):
    """The same after a repair by hand: right, of shape (C,), and called `weight`."""

    def __init__(self, channels):
        super().__init__(channels, shape=(channels,))
        self.register_parameter("weight", self.gamma)
        del self.gamma

    def forward(self, x):
        return nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.0, 1e-5)


def net(norm, seed=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.Conv2d(4, 2, 1))


def flatten(model):
    """Do to a model what a repair does: the same parameter objects under other names and shapes."""
    layer = model[1]
    for parameter in (layer.gamma, layer.bias):
        parameter.data = parameter.data.reshape(-1)
    layer.register_parameter("weight", layer.gamma)
    del layer.gamma
    layer.__class__ = Flat


def steps(model, optimizer, count, seed):
    torch.manual_seed(seed)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = (model(torch.randn(4, 3, 6, 6)) - 0.3).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def whole(parameters):
    return list(parameters)


def groups(parameters):
    """The usual two groups: what has one number per channel is not decayed, and comes last."""
    parameters = list(parameters)
    decayed = [p for p in parameters if p.dim() == 4 and p.shape[0] != 1]
    return [{"params": decayed}, {"params": [p for p in parameters if all(p is not d for d in decayed)]}]


OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True),
}


@pytest.mark.parametrize("grouped", [whole, groups])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_resumed_training_equals_that_of_the_model_corrected_by_hand(tmp_path, kind, grouped):
    make = OPTIMIZERS[kind]
    broken = net(Wide(4, stop=True))
    optimizer = make(grouped(broken.parameters()))
    steps(broken, optimizer, 3, seed=1)
    torch.save({"model": broken.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "a.pt")

    by_hand = net(Wide(4))
    by_hand.load_state_dict(broken.state_dict())
    by_hand_optimizer = make(grouped(by_hand.parameters()))
    by_hand_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    expected = steps(by_hand, by_hand_optimizer, 4, seed=2)

    content = torch.load(tmp_path / "a.pt")
    model = net(Wide(4, stop=True))
    before = held(model)
    flatten(model)
    follow(content, state_dicts(content, [item.key for item in before]), moves(before, held(model)), before)

    resumed = net(Flat(4), seed=9)
    resumed.load_state_dict(content["model"])
    resumed_optimizer = make(grouped(resumed.parameters()))
    resumed_optimizer.load_state_dict(content["optimizer"])
    for parameter, state in resumed_optimizer.state.items():
        assert all(v.shape == parameter.shape for v in state.values() if v.dim())
    assert steps(resumed, resumed_optimizer, 4, seed=2) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(resumed[1].weight, by_hand[1].gamma.view(-1), rtol=1e-4, atol=1e-5)
    broken_on = make(grouped(broken.parameters()))
    broken_on.load_state_dict(optimizer.state_dict())
    assert steps(broken, broken_on, 4, seed=2) != pytest.approx(expected, rel=1e-4)


def made():
    model = net(Wide(4))
    before = held(model)
    flatten(model)
    return moves(before, held(model)), before


def test_a_tensor_is_known_by_its_key_else_as_the_same_object():
    found = {m.key: (m.shape, m.new_key, m.new_shape) for m in made()[0]}
    assert found == {
        "1.bias": ((1, 4, 1, 1), "1.bias", (4,)),
        "1.gamma": ((1, 4, 1, 1), "1.weight", (4,)),
    }


def test_keys_keep_their_place_and_shared_memory_stays_shared():
    shared = torch.randn(1, 4, 1, 1)
    state = {"0.weight": 1, "0.bias": 2, "1.bias": shared, "1.gamma": nn.Parameter(shared), "2.weight": 3, "2.bias": 4}
    content = {"ema": state, "alone": shared}
    moved, before = made()
    follow(content, state_dicts(content, [item.key for item in before]), moved, before)
    assert list(state) == ["0.weight", "0.bias", "1.bias", "1.weight", "2.weight", "2.bias"]
    assert state["1.weight"].shape == (4,) and isinstance(state["1.weight"], nn.Parameter)
    assert state["1.weight"].data_ptr() == state["1.bias"].data_ptr() == content["alone"].data_ptr()
    assert content["alone"].shape == (1, 4, 1, 1)


def test_another_model_s_optimizer_is_left_alone():
    other = nn.Sequential(Wide(4), nn.Linear(7, 7))
    optimizer = torch.optim.SGD(groups(other.parameters()), lr=0.1, momentum=0.9)
    for parameter in other.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    content = {"optimizer": optimizer.state_dict()}
    expected = copy.deepcopy(content)
    follow(content, [], *made())
    torch.testing.assert_close(content, expected)


def test_a_state_that_could_belong_to_two_parameters_is_refused():
    model = nn.Sequential(Wide(4), Wide(4))
    before = held(model)
    optimizer = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    only_one = moves(before, flat_one(model))
    with pytest.raises(RepairError, match="nothing tells whose state"):
        follow({"o": optimizer.state_dict()}, [], only_one, before)
    named = torch.optim.SGD([{"params": [pair]} for pair in model.named_parameters()], lr=0.1, momentum=0.9)
    named.load_state_dict(optimizer.state_dict() | {"param_groups": named.state_dict()["param_groups"]})
    content = {"o": named.state_dict()}
    follow(content, [], only_one, before)
    shapes = [tuple(s["momentum_buffer"].shape) for s in content["o"]["state"].values()]
    assert shapes == [(1, 4, 1, 1)] * 2 + [(4,)] * 2


def flat_one(model):
    """The second layer takes another shape, the first one keeps its own."""
    for parameter in model[1].parameters():
        parameter.data = parameter.data.reshape(-1)
    found = held(model)
    for parameter in model[1].parameters():
        parameter.data = parameter.data.reshape(1, -1, 1, 1)
    return found


def test_a_state_of_another_shape_than_its_parameter_cannot_follow():
    model = net(Wide(4))
    numbers = range(len(list(model.parameters())))
    shapes = [p.shape for p in model.parameters()]
    states = {n: {"exp_avg": torch.zeros(shapes[n]), "row": torch.zeros(2)} for n in numbers}
    content = {"state": states, "param_groups": [{"params": list(numbers)}]}
    with pytest.raises(RepairError, match=r"`row` of `1\.bias`"):
        follow(content, [], *made())
