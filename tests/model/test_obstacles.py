"""Models that are hard to capture: each holds one norm with both statistics stopped, and is left exactly as found."""

import dataclasses
import typing

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from stops import StoppedNorm, batch, net, stop_lines
from test_state import assert_same, picture
from torch import nn

from bnlint.errors import InputError
from bnlint.model.check import check_model

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", autouse=True)
def process_group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Pair(typing.NamedTuple):
    y: torch.Tensor
    h: torch.Tensor


@dataclasses.dataclass
class Batch:
    x: torch.Tensor
    tags: list


class Model(nn.Module):
    """A model around a stopped norm, with its own forward."""

    def __init__(self, run, first=None, fail=False):
        super().__init__()
        self.conv1 = first or nn.Conv2d(3, 4, 3, padding=1)
        self.norm = StoppedNorm(4, "detach")
        self.conv2 = nn.Conv2d(4, 2, 3)
        self.run, self.fail = run, fail

    def forward(self, *args, **kwargs):
        result = self.run(self, *args, **kwargs)
        if self.fail:
            raise ValueError("after everything has run")
        return result


def plain(m, x):
    return m.conv2(torch.tanh(m.norm(m.conv1(x))))


def as_image(rows):
    return rows.reshape(-1, 4, 1, 1)


def named_tuple(m, x):
    h = m.norm(m.conv1(x))
    return Pair(m.conv2(h), h)


def many(m, *xs, **more):
    return plain(m, xs[0] + xs[1]) * more["scale"]


def from_dataclass(m, given):
    return Batch(plain(m, given.x), ["out"])


def packed(m, x, lengths):
    rows = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return m.norm(as_image(m.conv1(rows)[1][0][-1]))


def numpy_constant(m, x):
    return m.conv2(m.norm(m.conv1(x) * torch.from_numpy(np.hanning(8).astype("float32"))))


def chosen(m, x):
    h = m.norm(m.conv1(x))
    return m.conv2(h[(h.mean((1, 2, 3)) > -10).nonzero()[:, 0]])


def excepting(m, x):
    try:
        inner = lambda t: m.conv2(m.norm(t))  # noqa: E731
        return inner(m.conv1(x))
    except ValueError:
        return x


def logging(m, x):
    h = m.norm(m.conv1(x))
    m.last = float(h.detach().mean())
    assert not torch.isnan(h).any()
    return m.conv2(h)


def in_place(m, x):
    h = m.norm(m.conv1(x))
    h += 1
    h[:, 0] = 0.5
    return m.conv2(F.relu_(h))


def encoder():
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True), 1)


def normed_weights():
    model = Model(plain)
    model.conv1 = nn.utils.parametrizations.weight_norm(model.conv1)
    model.conv2 = nn.utils.parametrizations.spectral_norm(model.conv2)
    return model


def hooked():
    model = Model(plain)
    model.norm.register_forward_pre_hook(lambda module, args: (args[0] + 0.1,))
    model.norm.register_forward_hook(lambda module, args, output: output * 1.5)
    return model


SEQUENCE, LENGTHS = torch.randn(6, 7, 4), torch.tensor([7, 3, 5, 2, 1, 4])
CASES = {
    "named tuple": lambda: (Model(named_tuple), (batch(),), {}),
    "dataclass": lambda: (Model(from_dataclass), (Batch(batch(), ["in"]),), {}),
    "many": lambda: (Model(many), (batch(), batch(2)), {"scale": torch.ones(1)}),
    "packed": lambda: (Model(packed, nn.LSTM(4, 4, batch_first=True)), (SEQUENCE, LENGTHS), {}),
    "encoder": lambda: (Model(lambda m, x: m.norm(as_image(m.conv1(x).mean(1))), encoder()), (SEQUENCE,), {}),
    "embedding": lambda: (
        Model(lambda m, ids: m.norm(as_image(m.conv1(ids))), nn.Embedding(9, 4)),
        (torch.arange(8).view(4, 2),),
        {},
    ),
    "numpy": lambda: (Model(numpy_constant), (batch(),), {}),
    "chosen": lambda: (Model(chosen), (batch(),), {}),
    "excepting": lambda: (Model(excepting), (batch(),), {}),
    "logging": lambda: (Model(logging), (batch(),), {}),
    "in place": lambda: (Model(in_place), (batch(),), {}),
    "half": lambda: (Model(plain).half(), (batch().half(),), {}),
    "normed weights": lambda: (normed_weights(), (batch(),), {}),
    "hooks": lambda: (hooked(), (batch(),), {}),
    "compiled": lambda: (torch.compile(Model(plain), backend="eager"), (batch(),), {}),
    "data parallel": lambda: (nn.DataParallel(Model(plain)), (batch(),), {}),
    "distributed": lambda: (nn.parallel.DistributedDataParallel(Model(plain)), (batch(),), {}),
    "evaluated": lambda: (Model(plain).eval(), (batch(),), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_stop_is_found_and_the_model_is_left_as_found(name):
    model, args, kwargs = CASES[name]()
    before = picture(model)

    findings = check_model(model, *args, **kwargs)

    assert_same(picture(model), before)
    assert [f.statistic for f in findings] == ["mean", "var"]
    assert {f.location.line for f in findings} == stop_lines("detach")
    assert {f.module.module.split(".")[-1] for f in findings} == {"norm"}


@pytest.mark.parametrize("name", CASES)
def test_the_model_is_left_as_found_where_its_forward_fails(name):
    model, args, kwargs = CASES[name]()
    next(module for module in model.modules() if isinstance(module, Model)).fail = True
    before = picture(model)

    with pytest.raises(InputError, match="after everything has run"):
        check_model(model, *args, **kwargs)

    assert_same(picture(model), before)


def test_the_pictures_would_differ_if_a_run_left_a_trace():
    model = net("running_buffer").train()
    before = picture(model)
    model(batch())
    with pytest.raises(AssertionError):
        assert_same(picture(model), before)
