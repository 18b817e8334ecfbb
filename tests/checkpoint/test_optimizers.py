"""Optimizer states as `torch.distributed.checkpoint.state_dict` writes them: by names, nested or flat."""

import copy

import pytest
import torch
import torch.distributed.checkpoint as dcp
from test_follow import OPTIMIZERS, Flat, Wide, flatten, groups, made, net, steps, whole
from test_wide import wide
from torch import nn
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from bnlint.checkpoint.follow import follow, held, moves
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.state_dicts import state_dicts
from bnlint.checkpoint.trust import Trust
from bnlint.errors import RepairError

pytestmark = pytest.mark.filterwarnings("ignore")
FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
NESTED = StateDictOptions()


def content(model, optimizer, options):
    """What a training script with torch.distributed.checkpoint.state_dict saves."""
    return copy.deepcopy(
        {"model": model.state_dict(), "optim": get_optimizer_state_dict(model, optimizer, options=options)}
    )


def shapes(value):
    return {k: shapes(v) if isinstance(v, dict) else tuple(getattr(v, "shape", ())) for k, v in value.items()}


@pytest.mark.parametrize("options", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("grouped", [whole, groups])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_states_by_name_follow_and_the_training_resumes(kind, grouped, options):
    make = OPTIMIZERS[kind]
    broken = net(Wide(4, stop=True))
    optimizer = make(grouped(broken.parameters()))
    steps(broken, optimizer, 3, seed=1)
    saved = content(broken, optimizer, options)

    by_hand = net(Wide(4))
    by_hand.load_state_dict(broken.state_dict())
    by_hand_optimizer = make(grouped(by_hand.parameters()))
    by_hand_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    expected = steps(by_hand, by_hand_optimizer, 4, seed=2)

    model = net(Wide(4, stop=True))
    before = held(model)
    flatten(model)
    follow(saved, state_dicts(saved, [item.key for item in before]), moves(before, held(model)), before)

    resumed = net(Flat(4), seed=9)
    resumed.load_state_dict(saved["model"])
    resumed_optimizer = make(grouped(resumed.parameters()))
    fresh = get_optimizer_state_dict(resumed, resumed_optimizer, options=options)
    assert saved["optim"].keys() >= fresh.keys()
    set_optimizer_state_dict(resumed, resumed_optimizer, saved["optim"], options=options)
    assert all(v.shape == p.shape for p, s in resumed_optimizer.state.items() for v in s.values() if v.dim())
    assert steps(resumed, resumed_optimizer, 4, seed=2) == pytest.approx(expected, rel=1e-4)


def trained(model):
    optimizer = torch.optim.AdamW(model.parameters())
    steps(model, optimizer, 2, seed=1)
    return optimizer


@pytest.mark.parametrize("options", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "net."])
def test_what_stands_before_the_keys_of_a_state_dict_may_stand_before_the_names(prefix, options):
    """DDP's and torch.compile's does not: torch takes it away. A layer that is not the model's is left alone."""
    holder = nn.ModuleDict({prefix.removesuffix("."): net(Wide(4)), "head": nn.Linear(2, 2)})
    model = holder[prefix.removesuffix(".")]
    optimizer = trained(model)
    if prefix == "net.":
        optimizer.add_param_group({"params": holder["head"].parameters()})
    state = {prefix + key: value for key, value in model.state_dict().items()}
    named = holder if prefix == "net." else model
    saved = {"model": state, "optim": get_optimizer_state_dict(named, optimizer, options=options)}
    before = shapes(saved["optim"])

    moved, had = made()
    follow(saved, state_dicts(saved, [item.key for item in had]), moved, had)

    inner = "net." if prefix == "net." else ""
    renamed = {f"{inner}1.gamma": f"{inner}1.weight"}
    after = shapes(saved["optim"])
    if options is FLAT:
        names = [key.replace(f"{inner}1.gamma.", f"{inner}1.weight.") for key in before]
        assert list(after) == names
        assert after[f"state.{inner}1.weight.exp_avg"] == after[f"state.{inner}1.bias.exp_avg_sq"] == (4,)
    else:
        assert list(after["state"]) == [renamed.get(name, name) for name in before["state"]]
        assert after["state"][f"{inner}1.weight"]["exp_avg"] == after["state"][f"{inner}1.bias"]["exp_avg_sq"] == (4,)
        assert f"{inner}1.weight" in saved["optim"]["param_groups"][0]["params"]


@pytest.mark.parametrize("options", [FLAT, NESTED], ids=["flat", "nested"])
def test_names_behind_something_unknown_are_refused_and_those_of_another_model_left_alone(options):
    holder = nn.ModuleDict({"net": net(Wide(4)), "head": nn.Linear(2, 2)})
    optimizer = torch.optim.AdamW(holder.parameters())
    steps(holder["net"], optimizer, 1, seed=1)
    saved = content(holder, optimizer, options)
    with pytest.raises(RepairError, match=r"whether `net\.1\.\w+` is the parameter `1\.\w+`"):
        follow({"optim": saved["optim"]}, [], *made())
    other = nn.Sequential(Wide(3), nn.Conv2d(3, 7, 1))
    optimizer = trained(other)
    saved = {"optim": get_optimizer_state_dict(other, optimizer, options=options)}
    expected = copy.deepcopy(saved)
    follow(saved, [], *made())
    assert shapes(saved["optim"]) == shapes(expected["optim"])


def test_names_that_an_optimizer_keeps_beside_numbers_follow():
    model = net(Wide(4))
    optimizer = torch.optim.AdamW(list(model.named_parameters()))
    steps(model, optimizer, 1, seed=1)
    saved = {"o": optimizer.state_dict()}
    follow(saved, [], *made())
    assert saved["o"]["param_groups"][0]["param_names"] == [name for name, _ in renamed().named_parameters()]


def renamed():
    model = net(Wide(4))
    flatten(model)
    return model


@pytest.mark.parametrize(
    "groups", [[1], [{}], [{"params": 3}], [{"params": [[1]], "param_names": 7}], [{"params": None}]]
)
def test_what_looks_like_an_optimizer_and_is_none_is_left_alone(groups):
    saved = {"o": {"state": {0: 1, "x": {"m": torch.zeros(2)}}, "param_groups": groups}, "p": {"param_groups.": 1}}
    expected = repr(saved)
    follow(saved, [], *made())
    assert repr(saved) == expected


def shaped_like_images():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 4, 3), wide((1, 4, 1, 1)).float(), nn.Conv2d(4, 2, 1))


@pytest.mark.parametrize("options", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_repair_that_changes_shapes_writes_them_to_files_and_folders(tmp_path, folder, options):
    model = shaped_like_images()
    saved = content(model, trained(model), options)
    if folder:
        dcp.save(saved, checkpoint_id=tmp_path / "a")
    else:
        torch.save(saved, tmp_path / "a")

    result = repair_checkpoint(
        tmp_path / "a", tmp_path / "b", Trust(), factory=shaped_like_images, adopt_torch_conventions=True
    )

    assert result.written and {move.new_shape for move in result.moved} == {(4,)}
    if folder:
        dcp_to_torch_save(tmp_path / "b", tmp_path / "c")
    found = torch.load(tmp_path / ("c" if folder else "b"), weights_only=not folder)
    native = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))
    native.load_state_dict(found["model"])
    optimizer = torch.optim.AdamW(native.parameters())
    set_optimizer_state_dict(native, optimizer, found["optim"], options=options)
    for parameter, state in optimizer.state.items():
        assert all(value.shape == parameter.shape for value in state.values() if value.dim())
    assert shapes(saved["optim"]) != shapes(found["optim"])
