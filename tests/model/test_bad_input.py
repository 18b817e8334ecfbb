"""What cannot be checked is one clear line that says what to pass."""

import re
import warnings

import pytest
import torch
from stops import Net, StoppedNorm, batch, net
from torch import nn
from variants import HandNorm

from bnlint.errors import AssumptionWarning, CaptureWarning, InputError, UsageError
from bnlint.first_step import watch
from bnlint.model.assumed import assumed, described
from bnlint.model.check import check_model
from bnlint.model.failures import explained
from bnlint.model.layers import find_layers, natives
from bnlint.repairs.apply import repair
from bnlint.testing import assert_gradients_flow


def variant(forward):
    model = net("detach")
    model.__class__ = type("Variant", (Net,), {"forward": forward})
    return model


def whole(self, x):
    return self.conv2(torch.tanh(self.norm(self.conv1(x))))


def evaluates_only(self, x):
    assert not self.training, "inference only"
    return whole(self, x)


def leaves(self, x):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("model", "args", "said", "hint"),
    [
        (variant(lambda self, x, mask: whole(self, x)), (batch(),), "missing 1 required", "every input"),
        (variant(lambda self, x: whole(self, x) * float("nan")), (batch(),), "output is NaN", "--input batch.pt"),
        (variant(evaluates_only), (batch(),), "runs in evaluation mode only", "that is trained"),
        (variant(leaves), (batch(),), "SystemExit: 3", "--input"),
        (net("detach"), (torch.randn(0, 3, 8, 8),), "holds nothing", "two samples"),
        (nn.BatchNorm1d(3), (torch.randn(1, 3),), "more than 1 value per channel", "more than one sample"),
        (nn.Embedding(4, 3), (torch.randn(2, 3),), "scalar types", "8x128:int64"),
        (nn.Embedding(4, 3), (torch.tensor([7]),), "index out of range", "batch.pt"),
        (variant(lambda self, x: torch.empty(10**14)), (batch(),), "memory", "smaller --input"),
    ],
)
def test_one_line_says_what_and_one_says_what_to_pass(model, args, said, hint):
    with pytest.raises(InputError) as caught:
        check_model(model, *args)
    assert said in caught.value.what and "\n" not in caught.value.what
    assert hint in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="wants a machine without a GPU")
def test_a_model_for_a_gpu_says_so():
    with pytest.raises(InputError) as caught:
        check_model(variant(lambda self, x: whole(self, x.cuda())), batch())
    assert "wants a GPU" in caught.value.hint


def test_an_unknown_cause_gets_no_advice():
    assert explained(ValueError("no")) is None


def test_integers_out_are_said_and_layers_are_measured_all_the_same():
    with pytest.warns(CaptureWarning, match="no output of the model carries a gradient"):
        findings = check_model(variant(lambda self, x: whole(self, x).argmax(1)), batch())
    assert [f.statistic for f in findings] == ["mean", "var"]


def test_a_model_without_normalization_is_silent():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    assert find_layers(model, (batch(),)) == []
    assert (natives(model), natives(nn.Sequential(nn.BatchNorm2d(3), nn.LayerNorm(3)))) == (0, 2)


def test_a_layer_whose_backward_fails_is_a_problem_and_no_crash():
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.mean((0, 2, 3))

    class BrokenNorm(StoppedNorm):
        def forward(self, x):
            return x - Half.apply(x)[:, None, None]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert check_model(nn.Sequential(nn.Conv2d(3, 4, 1), BrokenNorm(4, "live")), batch()) == []


# -- no input at all


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.lstm = nn.Embedding(5, 4), nn.LSTM(4, 4, batch_first=True)

    def forward(self, ids):
        h = self.lstm(self.embed(ids))[0]
        return h - h.mean(-1, keepdim=True).detach()


class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 8, 8), nn.Linear(4 * 64, 2)

    def forward(self, x):
        return self.head(self.conv(x).flatten(1))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (net("detach"), "--input 4x3x32x32"),
        (Words(), "--input 4x8:int64"),
        (Vision(), "--input 4x3x64x64"),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU()), "--input 8x5"),
        (nn.Sequential(nn.Conv1d(2, 4, 3)).half(), "--input 4x2x32:float16"),
        (nn.Sequential(nn.Conv3d(1, 2, 3)).double(), "--input 2x1x8x8x8:float64"),
        (nn.GRU(3, 4), "--input 4x6x3"),
        (StoppedNorm(4, "detach"), "--input 4x4x4x4"),
    ],
)
def test_shapes_follow_from_the_layers_and_are_said(model, said):
    with pytest.warns(CaptureWarning, match="no input was given") as told:
        check_model(model)
    assert str(told[0].message).endswith(f"assumed inputs: {said}")


def test_nothing_is_said_where_torch_wrote_every_layer_and_the_input_does_not_matter():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_model(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))) == []


def test_what_is_written_inside_other_layers_is_found_without_inputs():
    with pytest.warns(CaptureWarning):
        assert [f.statistic for f in check_model(Words())] == ["mean"]


def test_where_nothing_fits_layers_are_measured_alone_and_that_is_said():
    model = variant(lambda self, x, mask: whole(self, x))
    with pytest.warns(CaptureWarning, match="none fits"):
        assert [f.statistic for f in check_model(model)] == ["mean", "var"]


def test_assumed_inputs_are_those_that_an_exported_graph_notes():
    exported = torch.export.export(Words(), (torch.zeros(3, 5, dtype=torch.int64),)).module()
    assert [described(given) for given in assumed(exported)] == ["--input 3x5:int64"]


@pytest.mark.parametrize("call", [check_model, assert_gradients_flow, repair, watch], ids=lambda call: call.__name__)
def test_what_is_no_model_is_told_so(call):
    for given, hint in ((lambda: nn.Linear(1, 1), "pass what it returns"), ("model.pt", "the command line takes")):
        with pytest.raises(UsageError, match=r"a model is an nn\.Module, and this is a") as caught:
            call(given)
        assert hint in caught.value.hint


def test_what_was_assumed_is_told_at_the_line_of_the_caller():
    with pytest.warns(AssumptionWarning) as told:
        check_model(nn.Sequential(nn.Conv2d(3, 4, 3), HandNorm(4)))
    assert told[0].filename == __file__


def test_a_finding_prints_as_one_line():
    (finding, _) = check_model(nn.Sequential(HandNorm(4)), torch.randn(4, 4, 5, 5))
    assert re.fullmatch(r".*variants\.py:\d+:\d+: BN101 layer 0: no gradient flows through the mean .*", str(finding))
