import copy

import pytest
import torch
from torch import nn
from variants import HandNorm, batch, gradients

from bnlint.checkpoint.formats import Checkpoint, load
from bnlint.checkpoint.models import check_models, opened
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust
from bnlint.errors import CaptureWarning, InputError, RepairError, UntrustedError
from bnlint.layers import FusedBatchNorm2d
from bnlint.model.inputs import Inputs

TRUST = Trust({"HandNorm": HandNorm})


class Refused(HandNorm):
    """It counts its steps in a number, which a rewritten layer would not."""

    steps = 0

    def forward(self, x):
        self.steps += 1
        return torch.relu(super().forward(x))


def net(norm=None):
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm or HandNorm(unbiased=True), nn.Conv2d(4, 2, 3))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "out").mkdir()
    return tmp_path


def saved(folder, content):
    path = folder / "model.pt"
    torch.save(content, path)
    return path


def read(path, *allowed):
    with torch.serialization.safe_globals([nn.Sequential, nn.Conv2d, nn.BatchNorm2d, FusedBatchNorm2d, *allowed]):
        return torch.load(path, weights_only=True)


def exactly(ours, theirs):
    """Bit by bit, with types, NaN and strides."""
    assert type(ours) is type(theirs)
    if isinstance(ours, torch.Tensor):
        assert (ours.dtype, ours.shape, ours.stride(), ours.requires_grad) == (
            theirs.dtype,
            theirs.shape,
            theirs.stride(),
            theirs.requires_grad,
        )
        assert ours.detach().contiguous().numpy().tobytes() == theirs.detach().contiguous().numpy().tobytes()
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            exactly(ours[key], theirs[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            exactly(a, b)
    else:
        assert ours == theirs or ours != ours


def test_a_whole_model_is_repaired_written_and_read_back(folder):
    model = net()
    path, output = saved(folder, model), folder / "out" / "repaired.pt"
    bytes_before = path.read_bytes()

    result = repair_checkpoint(path, output, TRUST)

    assert [(c.module, c.accepted) for c in result.certificates] == [("1", True)]
    assert result.written and result.needs == ("bnlint.layers",)
    assert path.read_bytes() == bytes_before
    assert [file.name for file in (folder / "out").iterdir()] == ["repaired.pt"]
    again = read(output)
    exactly(dict(again.state_dict()), dict(model.state_dict()))
    corrected = HandNorm(unbiased=True, stop=False).double()
    corrected.load_state_dict(model[1].state_dict())
    torch.testing.assert_close(
        gradients(again[1].double(), batch()), gradients(corrected, batch()), rtol=1e-9, atol=1e-9
    )


def test_adopting_needs_torch_alone(folder):
    output = folder / "out" / "repaired.pt"

    result = repair_checkpoint(saved(folder, net()), output, TRUST, adopt_torch_conventions=True)

    assert result.needs == ()
    assert [type(m) for m in read(output)] == [nn.Conv2d, nn.BatchNorm2d, nn.Conv2d]


def test_everything_else_in_a_dict_stays_bit_by_bit(folder):
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    other = {
        "optimizer": optimizer.state_dict(),
        "epoch": 17,
        "best": float("nan"),
        "history": [0.5, (1, "two", None)],
        "tensor": torch.tensor([0.1, float("nan"), -0.0]),
        "transposed": torch.arange(6).reshape(2, 3).t(),
        "half": torch.randn(3).bfloat16().view(torch.int16),
    }
    content = {"model": model, **copy.deepcopy(other)}
    path, output = saved(folder, content), folder / "out" / "repaired.pt"

    result = repair_checkpoint(path, output, TRUST)

    assert [c.module for c in result.certificates] == ["model.1"]
    again = read(output)
    assert list(again) == list(content)
    exactly({key: again[key] for key in other}, other)
    exactly(dict(again["model"].state_dict()), dict(model.state_dict()))
    restored = torch.optim.SGD(again["model"].parameters(), lr=0.1, momentum=0.9)
    restored.load_state_dict(again["optimizer"])
    restored.step()


def test_tensors_that_are_shared_stay_shared(folder):
    model = net()
    content = {"model": model, "ema": [model[1].weight, model[1].running_mean]}
    output = folder / "out" / "repaired.pt"

    repair_checkpoint(saved(folder, content), output, TRUST)

    again = read(output)
    assert again["ema"][0].data_ptr() == again["model"][1].weight.data_ptr()
    assert again["ema"][1].data_ptr() == again["model"][1].running_mean.data_ptr()


def test_every_model_of_a_checkpoint_is_repaired(folder):
    content = {"generator": net(), "critics": [net(), net(nn.BatchNorm2d(4))]}

    result = repair_checkpoint(saved(folder, content), folder / "out" / "r.pt", TRUST)

    assert [c.module for c in result.certificates] == ["generator.1", "critics.0.1"]


def test_an_input_captures_the_whole_model(folder):
    result = repair_checkpoint(saved(folder, net()), folder / "out" / "r.pt", TRUST, Inputs((torch.randn(2, 3, 9, 9),)))
    assert [c.module for c in result.certificates] == ["1"]


def test_a_right_model_is_not_written(folder):
    result = repair_checkpoint(saved(folder, net(nn.BatchNorm2d(4))), folder / "out" / "r.pt", TRUST)

    assert (result.certificates, result.written) == ((), False)
    assert list((folder / "out").iterdir()) == []


def test_one_refused_layer_and_nothing_is_written(folder):
    model = nn.Sequential(net(), net(Refused()))
    path = saved(folder, model)

    with pytest.raises(RepairError, match=r"1 of 2 layers could not be repaired; nothing was written") as error:
        repair_checkpoint(path, folder / "out" / "r.pt", Trust({"HandNorm": HandNorm, "Refused": Refused}))

    assert "1.1 (Refused)" in error.value.what and "`relu`" in error.value.what
    assert "0.1" not in error.value.what
    assert list((folder / "out").iterdir()) == []


class Ghost(nn.Module):
    """Normalizes each half of a batch, and holds a layer of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.BatchNorm2d(4)

    def forward(self, x):
        halves = [(h - h.mean((0, 2, 3), keepdim=True).detach()) / h.std((0, 2, 3), keepdim=True) for h in x.chunk(2)]
        return self.inner(torch.cat(halves))


def test_a_layer_that_is_refused_is_told_once(folder):
    path = saved(folder, net(Ghost()))
    with pytest.raises(RepairError, match=r"1 of 1 layers could not be repaired") as error:
        repair_checkpoint(path, folder / "out" / "r.pt", Trust({"Ghost": Ghost}))
    assert error.value.what.count("Ghost):") == 1


def test_in_place_is_atomic_too(folder):
    path = saved(folder, net())

    assert repair_checkpoint(path, path, TRUST).written

    assert type(read(path)[1]) is FusedBatchNorm2d
    assert sorted(file.name for file in folder.iterdir()) == ["model.pt", "out"]


def test_classes_that_nobody_named_are_refused(folder):
    with pytest.raises(UntrustedError, match="HandNorm"):
        repair_checkpoint(saved(folder, net()), folder / "out" / "r.pt", Trust())
    assert list((folder / "out").iterdir()) == []


@pytest.mark.parametrize("content", [nn.BatchNorm2d(3).state_dict(), {"epoch": 1}, torch.zeros(3), [1, "two"]], ids=str)
def test_a_file_without_a_model_says_so(folder, content):
    path = saved(folder, content)
    with pytest.raises(InputError, match="holds no model") as error:
        repair_checkpoint(path, folder / "out" / "r.pt", TRUST)
    assert error.value.where == str(path) and error.value.hint
    assert list((folder / "out").iterdir()) == []


def test_what_does_not_read_back_is_not_written(folder, monkeypatch):
    def forgetful(path, trust, map_location="cpu", **options):
        found = load(path, trust, map_location, **options)
        if path.name.startswith(".bnlint"):  # the temporary file that is about to take the output's place
            with torch.no_grad():
                found.content[0].weight.view(-1)[0] += 1
        return found

    monkeypatch.setattr("bnlint.checkpoint.repair.load", forgetful)
    with pytest.raises(InputError, match="does not read back"):
        repair_checkpoint(saved(folder, net()), folder / "out" / "r.pt", TRUST)
    assert list((folder / "out").iterdir()) == []


def test_checking_says_where_each_layer_is(folder):
    checkpoint = Checkpoint(folder / "x.pt", {"model": net(), "ema": {"model": net(nn.BatchNorm2d(4))}})
    told = []

    checked = check_models(opened(checkpoint), Inputs(), told.append)

    assert [item.layer.path for item in checked] == ["model.1"]
    assert checked[0].measured.wrong and told


def test_a_large_model_is_not_run_unasked(folder, monkeypatch):
    monkeypatch.setattr("bnlint.checkpoint.models._LARGE", 100)
    path = saved(folder, net())
    ran = []
    monkeypatch.setattr(nn.Conv2d, "forward", lambda *args: ran.append(args))
    with pytest.warns(CaptureWarning, match=r"a model of 0\.0 GiB is not run on assumed inputs"):
        result = repair_checkpoint(path, folder / "out" / "r.pt", TRUST)
    assert [(c.module, c.accepted) for c in result.certificates] == [("1", True)] and not ran
