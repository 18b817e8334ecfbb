import pytest
import torch
from torch import nn
from variants import HandNorm, batch

from bnlint.cli import main
from bnlint.errors import InputError
from bnlint.repairs.apply import repair
from bnlint.repairs.recalibrate import batches_in, recalibrate

DATA = [batch(seed=seed) * 2 + 3 for seed in range(3)]


def average(values):
    return torch.stack(values).mean(0)


@pytest.mark.parametrize("adopt", [False, True])
def test_running_statistics_become_the_averages_over_the_batches(adopt):
    layer = HandNorm(updates="none").double()
    (certificate,) = repair(layer, batch(), adopt_torch_conventions=adopt)
    assert certificate.accepted and certificate.stale
    layer.eval()
    told = []

    assert recalibrate(layer, DATA, told.append) == 3

    torch.testing.assert_close(layer.running_mean, average([x.mean((0, 2, 3)) for x in DATA]))
    torch.testing.assert_close(layer.running_var, average([x.var((0, 2, 3)) for x in DATA]))
    assert told == ["batch 1", "batch 2", "batch 3"] and not layer.training
    before = layer.running_mean.clone()
    layer.train()(DATA[0])
    assert torch.equal(layer.running_mean, before) is not adopt  # its convention is kept


def test_a_layer_without_a_counter_is_recalibrated_and_gets_none():
    layer = HandNorm(updates="none", counts=None).double()
    assert repair(layer, batch())[0].stale
    keys = list(layer.state_dict())

    recalibrate(layer, DATA)

    torch.testing.assert_close(layer.running_mean, average([x.mean((0, 2, 3)) for x in DATA]))
    assert list(layer.state_dict()) == keys and "num_batches_tracked" not in keys


@pytest.mark.parametrize(
    ("options", "adopt", "stale"),
    [
        ({}, False, False),
        ({"updates": "none"}, False, True),
        ({"updates": "none", "eval_by": "batch"}, False, False),
        ({"updates": "none", "eval_by": "batch"}, True, True),
        ({"tracks": False, "updates": "none", "eval_by": "batch"}, True, False),
    ],
)
def test_statistics_are_stale_that_evaluation_uses_and_training_never_updated(options, adopt, stale):
    (certificate,) = repair(HandNorm(**options), batch(dtype=torch.float32), adopt_torch_conventions=adopt)
    assert certificate.accepted and certificate.stale is stale


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([], "holds no batch"),
        ([torch.zeros(4, 9, 5, 3)], "batch 1 cannot be run"),
        ([DATA[0], torch.full((4, 4, 5, 3), torch.inf, dtype=torch.float64)], "infinite or NaN"),
    ],
)
def test_bad_batches_are_said_in_one_line(batches, reason):
    model = nn.BatchNorm2d(4).double()
    with pytest.raises(InputError, match=reason):
        recalibrate(model, batches)
    assert model.momentum == 0.1 and model.training


def test_what_a_file_may_hold():
    (only,) = batches_in(DATA[0])
    assert only is DATA[0] and list(batches_in(DATA)) == DATA
    for value in (3, "text", {"x": DATA[0]}):
        with pytest.raises(InputError, match="is no batches"):
            batches_in(value)


@pytest.fixture
def saved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    norm = """
import torch
from torch import nn
class StaleNorm(nn.BatchNorm2d):
    def forward(self, x):
        if not self.training:
            mean, var = self.running_mean, self.running_var
        else:
            mean, var = x.mean((0, 2, 3)).detach(), x.var((0, 2, 3), unbiased=False).detach()
        wide = (1, -1, 1, 1)
        out = (x - mean.view(wide)) / (var.view(wide) + self.eps).sqrt()
        return out * self.weight.view(wide) + self.bias.view(wide)
def loader():
    return [(torch.ones(4, 4, 3, 3) * i, "label") for i in (1.0, 3.0)]
"""
    (tmp_path / "norms.py").write_text(norm)
    monkeypatch.syspath_prepend(tmp_path)
    import norms

    torch.save(nn.Sequential(norms.StaleNorm(4), nn.Conv2d(4, 2, 1)), "model.pt")
    torch.save([x.float() for x in DATA], "data.pt")
    yield ["fix", "model.pt", "--allow", "norms.StaleNorm", "-o", "fixed.pt"]
    __import__("sys").modules.pop("norms")


def run(*arguments):
    with pytest.raises(SystemExit) as exit_code:
        main(list(arguments))
    return exit_code.value.code


def test_on_the_command_line(saved, capsys):
    assert run(*saved) == 0
    out = capsys.readouterr().out
    assert "training never updated, and evaluation uses: 0" in out and "--recalibrate data.pt" in out

    assert run(*saved, "--recalibrate", "data.pt") == 0
    assert "were recomputed" in capsys.readouterr().out
    norm = torch.load("fixed.pt", weights_only=False)[0]
    torch.testing.assert_close(norm.running_mean, average([x.mean((0, 2, 3)) for x in DATA]).float())

    assert run(*saved, "--recalibrate", "norms:loader") == 0
    norm = torch.load("fixed.pt", weights_only=False)[0]
    torch.testing.assert_close(norm.running_mean, torch.full((4,), 2.0))


def test_a_model_that_was_repaired_before_is_recalibrated_too(saved, capsys):
    """The first repair says that it is needed: nobody has to go back to the file before it."""
    assert run(*saved) == 0
    capsys.readouterr()
    again = ["fix", "fixed.pt", "--allow", "bnlint.layers", "-o", "again.pt"]
    assert run(*again) == 0 and "nothing to repair, nothing written" in capsys.readouterr().out
    assert run(*again, "--recalibrate", "data.pt") == 0
    out = capsys.readouterr().out
    assert "nothing to repair\n" in out and "were recomputed" in out and "fixed.pt → again.pt: written" in out
    norm = torch.load("again.pt", weights_only=False)[0]
    torch.testing.assert_close(norm.running_mean, average([x.mean((0, 2, 3)) for x in DATA]).float())


@pytest.mark.parametrize(
    ("given", "reason"),
    [("none.pt", "no such file"), ("norms:nothing", "nothing"), ("model.pt", "holds more than tensors")],
)
def test_bad_data_is_refused_and_nothing_is_written(saved, capsys, tmp_path, given, reason):
    assert run(*saved, "--recalibrate", given) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and reason in err and "8x3x32x32" not in err
    assert not (tmp_path / "fixed.pt").exists()


def test_it_is_for_checkpoints(saved, capsys):
    assert run("fix", "norms.py", "--recalibrate", "data.pt") == 2
    assert "--recalibrate is for a checkpoint" in capsys.readouterr().err
