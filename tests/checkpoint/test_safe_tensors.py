import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.formats import Checkpoint, load, save
from bnlint.checkpoint.kinds import Kind
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust
from bnlint.errors import BnlintError, InputError

pytestmark = pytest.mark.filterwarnings("ignore")


def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3), HandNorm(4))


def test_a_file_is_repaired_with_its_model(tmp_path):
    save_file(net().state_dict(), tmp_path / "a.safetensors", metadata={"format": "pt"})
    result = repair_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", Trust(), factory=net)
    assert result.written and [c.module for c in result.certificates] == ["1"]
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_what_changes_is_written_as_safetensors(tmp_path):
    tensors = {"a": torch.randn(1, 3, 1, 1), "b": torch.randn(2).bfloat16(), "n": torch.tensor(3)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"who": "me"})
    checkpoint = load(tmp_path / "a.safetensors")
    assert checkpoint.kind is Kind.SAFETENSORS
    checkpoint.content["a"] = checkpoint.content["a"].reshape(3)
    save(checkpoint, tmp_path / "b.safetensors", verify=load)
    with safe_open(tmp_path / "b.safetensors", "pt") as file:
        assert file.metadata() == {"who": "me"}
        assert {key: file.get_tensor(key).shape for key in file.keys()} == {"a": (3,), "b": (2,), "n": ()}  # noqa: SIM118
        assert torch.equal(file.get_tensor("b"), tensors["b"])


def test_without_its_model_it_says_what_to_name(tmp_path):
    save_file(net().state_dict(), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="holds no model") as caught:
        repair_checkpoint(tmp_path / "a.safetensors", tmp_path / "b.safetensors", Trust())
    assert "--model PKG.MODULE:FACTORY" in caught.value.hint


def test_damage_is_one_line_wherever_it_is(tmp_path):
    save_file({"w": torch.arange(8.0)}, tmp_path / "a.safetensors")
    data, path = (tmp_path / "a.safetensors").read_bytes(), tmp_path / "b.safetensors"
    for at in range(0, len(data) - 32):
        for changed in (data[:at], data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]):
            path.write_bytes(changed)
            try:
                load(path)
            except InputError as error:
                assert "\n" not in str(error) and str(error).isprintable()


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    save_file({"w": torch.arange(8.0)}, tmp_path / "a.safetensors")
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(BnlintError, match="not installed") as caught:
        load(Checkpoint(tmp_path / "a.safetensors", None).path)
    assert caught.value.hint == 'pip install "bnlint[safetensors]"'
