"""State dicts after a repair: those from before it, and those of the repaired model, also without metadata."""

import copy
import io

import pytest
import torch
from torch import nn
from variants import HandNorm

from bnlint.layers import FusedBatchNorm2d
from bnlint.repairs.apply import repair

pytestmark = pytest.mark.filterwarnings("ignore")

BECOMES = {
    "torch's own": ({}, nn.BatchNorm2d),
    "torch's own, adopted": ({"unbiased": True, "adopt": True}, nn.BatchNorm2d),
    "unbiased": ({"unbiased": True}, FusedBatchNorm2d),
}


def saved(model):
    """Return a model as it comes back from a file."""
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def repaired(counts, *, adopt=False, **options):
    """Return a model, repaired, and the state dict that it had before."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), HandNorm(counts=counts and True, **options))
    if counts == "in memory alone":
        model[1].register_buffer("num_batches_tracked", torch.tensor(0), persistent=False)
    model(torch.randn(4, 3, 5, 5))
    before = copy.deepcopy(model.state_dict())
    repair(model, torch.randn(4, 3, 5, 5), adopt_torch_conventions=adopt)
    return model, before


@pytest.mark.parametrize("counts", [None, True, "in memory alone"])
@pytest.mark.parametrize("way", [lambda model: model, copy.deepcopy, saved], ids=["itself", "copied", "saved"])
@pytest.mark.parametrize("assign", [False, True])
@pytest.mark.parametrize("becomes", BECOMES)
def test_a_state_dict_from_before_a_repair_loads_after_it(becomes, assign, way, counts):
    options, kind = BECOMES[becomes]
    model, before = repaired(counts, **options)
    model = way(model)
    assert type(model[1]) is kind
    others = (model.state_dict(), dict(model.state_dict()), dict(before), before)  # a plain dict has no metadata
    for state in others:
        for value in model.state_dict().values():
            value.add_(1)
        kept = {key: value.clone() for key, value in state.items()}

        assert not any(model.load_state_dict(state, assign=assign))

        assert list(model.state_dict()) == list(before) == list(state)
        assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())


def test_a_second_repair_changes_nothing_of_it():
    model, before = repaired(None)
    hooks = len(model[1]._load_state_dict_pre_hooks)
    repair(model, torch.randn(4, 3, 5, 5))
    assert len(model[1]._load_state_dict_pre_hooks) == hooks
    model.load_state_dict(before)


@pytest.mark.parametrize("becomes", BECOMES)
def test_a_counter_that_a_file_does_have_is_still_unexpected(becomes):
    model, _ = repaired(None, **BECOMES[becomes][0])
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).state_dict()
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\).*1.num_batches_tracked"):
        model.load_state_dict(other)


@pytest.mark.parametrize("becomes", BECOMES)
def test_a_proof_alone_changes_no_hooks(becomes):
    options = {name: value for name, value in BECOMES[becomes][0].items() if name != "adopt"}
    layer = HandNorm(counts=None, **options)
    repair(layer, torch.randn(4, 4, 5, 5), inplace=False)
    assert not layer._load_state_dict_pre_hooks
