"""TorchScript, node by node: what a compiled model does is seen, and what could do harm is not run."""

import io
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bnlint.model.capture import capture
from bnlint.model.check import check_model
from bnlint.model.script import Interpreter
from bnlint.model.scripted import Unsupported

pytestmark = pytest.mark.filterwarnings("ignore")


class Norm(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(channels) + 0.5)
        self.register_buffer("running_mean", torch.zeros(channels))

    def forward(self, x):
        mean = x.mean(dim=[0, 2, 3])
        with torch.no_grad():
            var = x.var(dim=[0, 2, 3], unbiased=False)  # stop
        if self.training:
            self.running_mean.mul_(0.9).add_(mean.detach() * 0.1)
        centered = x - mean[None, :, None, None]
        return centered / torch.sqrt(var[None, :, None, None] + 1e-5) * self.weight[:, None, None]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norms = nn.ModuleList([Norm(4), Norm(4)])

    def forward(self, x):
        h = self.conv(x)
        for norm in self.norms:
            h = F.relu(norm(h))
        count = 0
        while count < 2:
            h = h * 1.5
            count += 1
        return {"y": h, "more": [h.sum(), h.mean()]}


def stop_line():
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith("# stop"))


def batch():
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def compiled(how):
    model = Net()
    if how == "trace":
        model.forward = lambda x: model.norms[1](F.relu(model.norms[0](model.conv(x))))
        return torch.jit.trace(model, batch())
    script = torch.jit.script(model)
    if how == "loaded":
        file = io.BytesIO()
        torch.jit.save(script, file)
        file.seek(0)
        script = torch.jit.load(file)
    return script


@pytest.mark.parametrize("how", ["script", "loaded"])
def test_stops_in_a_compiled_model_are_found_at_their_lines(how):
    findings = check_model(compiled(how), batch())

    assert [(f.module.module, f.module.class_name, f.statistic, f.stop) for f in findings] == [
        ("norms.0", "Norm", "var", "no_grad"),
        ("norms.1", "Norm", "var", "no_grad"),
    ]
    assert {(f.location.path, f.location.line) for f in findings} == {(__file__, stop_line())}
    assert all(f.measurement.exact and f.measurement.error > 1e-2 for f in findings)


@pytest.mark.parametrize("how", ["script", "loaded"])
def test_the_replay_is_the_compiled_model(how):
    found = capture(compiled(how), (batch(),))
    assert found.unfaithful is None
    assert {*found.calls} >= {"", "conv", "norms.0", "norms.1"}


def test_a_compiled_part_of_a_model_is_looked_into():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), torch.jit.script(Norm(4)))
    (finding,) = check_model(model, batch())
    assert (finding.module.module, finding.location.line) == ("1", stop_line())


def test_a_compiled_model_is_left_as_found():
    model = compiled("script").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert check_model(model, batch())
    assert not any(module.training for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_a_right_compiled_model_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4)))
    assert check_model(model, batch()) == []


@torch.jit.script
def writes(x: torch.Tensor):
    torch.save(x, "never.pt")
    return x


def test_what_touches_files_is_not_run_node_by_node():
    with pytest.raises(Unsupported):
        Interpreter(writes, lambda *_: None)


@torch.jit.script
def branches(x: torch.Tensor, times: int = 3, flag: bool = True):
    names = ["a", "b"]
    for i in range(times):
        if flag and i % 2 == 0:
            x = x + float(i) / 2
        elif len(names) > 5:
            raise ValueError("never")
        else:
            x = torch.clamp(x, min=-1.0)
    y = torch.zeros([2, 3], dtype=torch.float64)
    first, second = torch.var_mean(x, dim=[0])
    return torch.stack([first, second]), y.to(torch.float32) + x.size(0), x.item() if x.dim() == 0 else 1.0


@pytest.mark.parametrize("kwargs", [{}, {"times": 5}, {"flag": False}])
def test_branches_loops_and_plain_values_are_what_torch_makes_of_them(kwargs):
    x = torch.randn(4, 3)
    ours = Interpreter(branches, lambda *_: None).run((x,), kwargs)
    theirs = branches(x, **kwargs)
    assert type(ours) is tuple
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
