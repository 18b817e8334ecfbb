"""What training scripts and libraries save beside a model: it comes out as it went in."""

import random

import lightning
import numpy as np
import pytest
import torch
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.formats import load
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust

pytestmark = pytest.mark.filterwarnings("ignore")
TRUST = Trust({"HandNorm": HandNorm})


class Lit(lightning.LightningModule):
    def __init__(self, width=4, stop=True):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Conv2d(3, width, 3), HandNorm(width, stop=stop), nn.Conv2d(width, 2, 1))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, index):
        return self.net(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


def trainer(folder, epochs):
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=folder, **quiet)


def batches():
    data = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(data), batch_size=4)


def test_a_checkpoint_of_lightning_resumes_with_the_corrected_code(tmp_path):
    first = trainer(tmp_path, 1)
    first.fit(Lit(), batches())
    first.save_checkpoint(tmp_path / "a.ckpt")

    result = repair_checkpoint(tmp_path / "a.ckpt", tmp_path / "b.ckpt", Trust(), factory=Lit)

    assert [c.module for c in result.certificates] == ["net.1"] and result.states == ("`state_dict`",)
    ended = []
    for file in ("a.ckpt", "b.ckpt"):
        torch.manual_seed(0)
        resumed, model = trainer(tmp_path, 3), Lit(stop=False)
        resumed.fit(model, batches(), ckpt_path=str(tmp_path / file))
        assert resumed.global_step == 6
        ended.append(model.state_dict())
    torch.testing.assert_close(ended[0], ended[1], rtol=0, atol=0)


def test_only_the_inner_network_may_be_named(tmp_path):
    torch.save({"state_dict": Lit().state_dict()}, tmp_path / "a.ckpt")
    result = repair_checkpoint(tmp_path / "a.ckpt", tmp_path / "b.ckpt", Trust(), factory=lambda: Lit().net)
    assert result.states == ("`state_dict` (keys behind `net.`)",)


def test_random_states_and_numbers_of_numpy_come_out_as_they_went_in(tmp_path):
    content = {
        "model": nn.Sequential(HandNorm(3)),
        "rng": {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()},
        "best": np.float64(0.1),
        "epoch": np.int64(7),
        "means": np.arange(6, dtype=np.float32).reshape(2, 3),
    }
    torch.save(content, tmp_path / "a.pt")

    assert repair_checkpoint(tmp_path / "a.pt", tmp_path / "b.pt", TRUST).written

    again = torch.load(tmp_path / "b.pt", weights_only=False)
    assert list(again) == list(content)
    assert torch.equal(again["rng"]["torch"], content["rng"]["torch"])
    assert again["rng"]["python"] == content["rng"]["python"]
    random.setstate(again["rng"]["python"])
    for ours, theirs in zip(again["rng"]["numpy"], content["rng"]["numpy"], strict=True):
        assert np.array_equal(ours, theirs)
    for key in ("best", "epoch", "means"):
        assert type(again[key]) is type(content[key]) and again[key].tobytes() == content[key].tobytes()
        assert again[key].dtype == content[key].dtype


def test_the_device_that_tensors_were_saved_from_stays_written(tmp_path):
    """Made on a machine without a GPU: what is pickled says `cuda:0`."""
    torch.save([torch.randn(3), nn.Sequential(HandNorm(3))], tmp_path / "cpu.pt")
    data = rewritten(tmp_path / "cpu.pt", tmp_path / "a.pt", b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
    assert data.count(b"cuda:0") == 1

    assert repair_checkpoint(tmp_path / "a.pt", tmp_path / "b.pt", TRUST).written

    told = []
    torch.load(tmp_path / "b.pt", weights_only=False, map_location=lambda storage, where: told.append(where) or storage)
    assert len(told) == 6 and set(told) == {"cuda:0"}


def rewritten(path, target, old, new):
    import zipfile

    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name).replace(old, new) if "data.pkl" in name else source.read(name))
        return source.read(next(n for n in source.namelist() if "data.pkl" in n)).replace(old, new)


def test_a_file_of_the_old_format_stays_one(tmp_path):
    content = {"model": nn.Sequential(HandNorm(3)), "w": torch.randn(3)}
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    trust = Trust(TRUST.code, everything=True)
    assert repair_checkpoint(tmp_path / "a.pt", tmp_path / "b.pt", trust).written
    assert (tmp_path / "b.pt").read_bytes()[:4] == (tmp_path / "a.pt").read_bytes()[:4] == b"\x80\x02\x8a\n"
    assert torch.equal(load(tmp_path / "b.pt", trust).content["w"], content["w"])
