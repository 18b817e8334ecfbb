"""A broken training, its checkpoint repaired, and resumed: as the model that somebody corrected by hand resumes."""

import copy

import pytest
import torch
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust
from bnlint.layers import FusedBatchNorm2d

pytestmark = pytest.mark.filterwarnings("ignore")
OPTIMIZERS = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


def net(stop):
    torch.manual_seed(5)
    parts = [nn.Conv2d(3, 4, 3), HandNorm(unbiased=True, stop=stop), nn.ReLU(), nn.Conv2d(4, 2, 3)]
    return nn.Sequential(*parts)


def steps(model, optimizer, count, seed):
    torch.manual_seed(seed)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = (model(torch.randn(4, 3, 8, 8)) - 0.3).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_resumed_training_equals_that_of_the_model_corrected_by_hand(tmp_path, kind):
    make = OPTIMIZERS[kind]
    broken = net(stop=True)
    optimizer = make(broken.parameters())
    steps(broken, optimizer, 3, seed=1)
    torch.save({"model": broken, "optimizer": optimizer.state_dict(), "epoch": 1}, tmp_path / "a.pt")
    saved = copy.deepcopy(optimizer.state_dict())

    by_hand = net(stop=False)
    by_hand.load_state_dict(broken.state_dict())
    by_hand_optimizer = make(by_hand.parameters())
    by_hand_optimizer.load_state_dict(copy.deepcopy(saved))
    expected = steps(by_hand, by_hand_optimizer, 5, seed=2)

    repair_checkpoint(tmp_path / "a.pt", tmp_path / "b.pt", Trust({"HandNorm": HandNorm}))

    with torch.serialization.safe_globals([nn.Sequential, nn.Conv2d, nn.ReLU, FusedBatchNorm2d]):
        content = torch.load(tmp_path / "b.pt")
    torch.testing.assert_close(content["optimizer"], saved, rtol=0, atol=0)
    resumed = content["model"]
    resumed_optimizer = make(resumed.parameters())
    resumed_optimizer.load_state_dict(content["optimizer"])
    assert steps(resumed, resumed_optimizer, 5, seed=2) == pytest.approx(expected, rel=1e-5)
    for ours, theirs in zip(resumed.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert steps(broken, optimizer, 5, seed=2) != pytest.approx(expected, rel=1e-5)
