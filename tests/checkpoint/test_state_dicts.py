"""State dicts: found wherever they lie, repaired with the model that they belong to."""

import copy

import pytest
import torch
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.formats import Checkpoint
from bnlint.checkpoint.models import opened
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.state_dicts import load_state, mappings, state_dicts
from bnlint.checkpoint.trust import Trust
from bnlint.errors import InputError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore")


def net(norm=None):
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm or HandNorm(unbiased=True), nn.Conv2d(4, 2, 3))


def training():
    """What a training script saves, with the model behind the prefix of DDP and a second copy."""
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = model.state_dict()
    return {
        "model": {f"module.{key}": value for key, value in state.items()},
        "ema": {"shadow": copy.deepcopy(state), "decay": 0.999},
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "rng": torch.get_rng_state(),
    }


def test_every_state_dict_of_a_model_is_found_with_its_prefix():
    content = training()
    found = state_dicts(content, net().state_dict())
    assert [(s.place, s.prefix) for s in found] == [("model", "module."), ("ema.shadow", "")]
    assert [s.name for s in found] == ["`model` (keys behind `module.`)", "`ema.shadow`"]


def test_one_mapping_may_hold_two_models_and_more():
    state = net().state_dict()
    both = {f"{name}.{key}": value for name in ("student", "teacher") for key, value in state.items()}
    found = state_dicts(both | {"loss.weight": torch.ones(2)}, state)
    assert [s.prefix for s in found] == ["student.", "teacher."]


def test_what_lacks_a_key_is_no_state_dict_unless_only_the_count_is_missing():
    state = net(nn.BatchNorm2d(4)).state_dict()
    old = {key: value for key, value in state.items() if "num_batches" not in key}
    assert len(state_dicts(old, state)) == 1
    assert state_dicts({key: value for key, value in old.items() if key != "2.bias"}, state) == []


def test_a_checkpoint_that_holds_itself_is_walked_once():
    content = {"a": [{"b": 1}]}
    content["self"] = content
    assert [place for place, _ in mappings(content)] == ["", "a.0"]


def test_the_model_takes_the_values_of_the_file_without_a_copy():
    state, model = net().state_dict(), net()
    load_state(model, {"model": state}, "x.pt")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert model[0].weight.data_ptr() == state["0.weight"].data_ptr()
    assert model[0].weight.requires_grad


def test_half_precision_values_leave_the_model_its_types():
    state = {key: value.half() if value.is_floating_point() else value for key, value in net().state_dict().items()}
    model = net()
    load_state(model, state, "x.pt")
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(model[0].weight, state["0.weight"].float())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {"0.weight": torch.zeros(4, 3, 3, 3)}}, r"`model` lacks `0.bias`, `1.weight`.* more"),
        ({"other": torch.zeros(1)}, "the state dict lacks `0.weight`"),
        ({"epoch": 3}, "neither a model nor a state dict"),
        (net(nn.BatchNorm2d(4)).state_dict() | {"0.weight": torch.zeros(4, 1, 3, 3)}, "does not fit the model: .*0.w"),
    ],
)
def test_a_file_that_does_not_fit_the_model_says_what_is_missing(content, said):
    with pytest.raises(InputError, match=said) as caught:
        load_state(net(nn.BatchNorm2d(4)), content, "x.pt")
    assert caught.value.hint and "\n" not in str(caught.value)


def test_a_file_that_holds_its_model_needs_no_factory(tmp_path):
    with pytest.raises(UsageError, match="holds its model"):
        opened(Checkpoint(tmp_path / "x.pt", {"model": net()}), net)


@pytest.mark.parametrize("in_place", [False, True])
def test_a_state_dict_that_fits_the_repaired_model_is_copied_byte_by_byte(tmp_path, in_place):
    path = tmp_path / "model.pt"
    output = path if in_place else tmp_path / "out.pt"
    torch.save(training(), path)
    before, stamp = path.read_bytes(), path.stat().st_mtime_ns

    result = repair_checkpoint(path, output, Trust(), factory=net)

    assert [(c.module, c.accepted) for c in result.certificates] == [("1", True)]
    assert result.written is not in_place
    assert output.read_bytes() == path.read_bytes() == before and path.stat().st_mtime_ns == stamp
    assert result.moved == () and result.states == ("`model` (keys behind `module.`)", "`ema.shadow`")
    (origin,) = result.origins
    assert origin.name == "HandNorm" and origin.file.endswith("variants.py")
    assert "class HandNorm" in open(origin.file).readlines()[origin.line - 1]  # noqa: PTH123, SIM115


def test_the_values_fit_the_hand_corrected_model(tmp_path):
    """What a user does next: correct the code, load the file."""
    content = training()
    torch.save(content, tmp_path / "model.pt")
    repair_checkpoint(tmp_path / "model.pt", tmp_path / "out.pt", Trust(), factory=net)
    corrected = net(HandNorm(unbiased=True, stop=False))
    corrected.load_state_dict(torch.load(tmp_path / "out.pt")["ema"]["shadow"])
    optimizer = torch.optim.SGD(corrected.parameters(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(torch.load(tmp_path / "out.pt")["optimizer"])
    buffers = [state["momentum_buffer"] for state in optimizer.state.values()]
    assert all(map(torch.equal, buffers, [s["momentum_buffer"] for s in content["optimizer"]["state"].values()]))


def test_a_right_model_s_state_dict_is_left_alone(tmp_path):
    torch.save(net().state_dict(), tmp_path / "model.pt")
    right = lambda: net(HandNorm(unbiased=True, stop=False))  # noqa: E731
    result = repair_checkpoint(tmp_path / "model.pt", tmp_path / "out.pt", Trust(), factory=right)
    assert (result.certificates, result.written) == ((), False)
    assert not (tmp_path / "out.pt").exists()
