"""Pages of rules about stopped gradients (BN1xx): the gradient is measured before and after."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from blocks import (
    ABOUT_GRADIENTS,
    CHANNELS,
    WITH_AND_WITHOUT_INPUT,
    Example,
    batch,
    distance,
    example,
    examples,
    input_gradient,
    layer_of,
    marked,
    statistics,
    told,
)
from torch import Tensor

from bnlint.model.check import check_model
from bnlint.repairs.apply import repair
from bnlint.source.check import check_source, fix_source

#: the layers whose statistics are stopped; those of BN106 use others
BAD_LAYERS = [bad for bad in examples("Bad", family="BN1") if bad.page.code != "BN106"]
#: reported by structure: one process cannot measure what others add (`test_collectives.py` does, with two)
STRUCTURAL = {"BN105"}

pytestmark = ABOUT_GRADIENTS


@pytest.mark.parametrize("bad", BAD_LAYERS, ids=str)
@WITH_AND_WITHOUT_INPUT
def test_runtime_check_reports_the_same_with_a_wrong_gradient(
    bad: Example, inputs: tuple[Tensor, ...], tmp_path: Path
) -> None:
    findings = check_model(layer_of(bad.code, tmp_path), *inputs)

    assert {finding.code for finding in findings} == {bad.page.code}
    if "static" not in bad.page.engines:  # its marks are those of the static check; the runtime check names a suspect
        lines = bad.code.splitlines()
        assert all(".apply(" in lines[finding.location.line - 1] for finding in findings if finding.location)
    else:
        assert marked(findings) == bad.marks
    if bad.marks:
        seen_in_source = told(bad.page, check_source(bad.code.encode(), "page.py"))
        assert {finding.statistic for finding in findings} == {finding.statistic for finding in seen_in_source}
    for finding in findings:
        if bad.page.code in STRUCTURAL:
            assert finding.measurement is None and "cannot be measured" in finding.message
            continue
        assert finding.measurement is not None
        assert finding.measurement.error > 1e-2
        assert finding.measurement.cosine < 0.9999


@pytest.mark.parametrize("bad", BAD_LAYERS, ids=str)
def test_fixed_block_differs_from_the_bad_one_in_gradients_alone(bad: Example, tmp_path: Path) -> None:
    before, after = (layer_of(code, tmp_path).double() for code in (bad.code, bad.fixed))
    x = batch()

    torch.testing.assert_close(after(x), before(x), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(dict(after.named_buffers()), dict(before.named_buffers()), rtol=1e-12, atol=1e-12)
    assert not any(buffer.requires_grad for buffer in after.buffers())
    assert (distance(input_gradient(before, x), input_gradient(after, x)) > 1e-2) == (bad.page.code not in STRUCTURAL)
    torch.testing.assert_close(after.eval()(x), before.eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("bad", BAD_LAYERS, ids=str)
@WITH_AND_WITHOUT_INPUT
def test_repair_is_certified_and_right(bad: Example, inputs: tuple[Tensor, ...], tmp_path: Path) -> None:
    layer, before = (layer_of(bad.code, tmp_path) for _ in range(2))
    parameters = dict(layer.named_parameters())

    (certificate,) = repair(layer, *inputs)

    assert all(now is parameters[name] for name, now in layer.named_parameters())
    assert certificate.accepted, certificate.reason
    assert certificate.gradient_error < 1e-9
    assert (certificate.gradient_error_before > 1e-2) == (bad.page.code not in STRUCTURAL)
    assert check_model(layer) == check_model(layer, *inputs) == []

    # The truth without bnlint: the code under Fixed, which finite differences confirm below.
    layer, before, truth, x = layer.double(), before.double(), layer_of(bad.fixed, tmp_path).double(), batch(5, 6, 3, 7)
    assert distance(input_gradient(layer, x), input_gradient(truth, x)) < 1e-9
    input_gradient(before, x)
    torch.testing.assert_close(statistics(layer), statistics(before), rtol=1e-9, atol=1e-12)
    for training in (True, False):
        old, new = before.train(training)(x), layer.train(training)(x)
        torch.testing.assert_close(new, old, rtol=1e-9, atol=1e-12)


def test_an_unsafe_fix_is_made_on_request_alone() -> None:
    bad = example("BN105", "Bad", 0)
    source = bad.code.encode()
    assert fix_source(source, "page.py", lambda finding: True) == source
    fixed = fix_source(source, "page.py", lambda finding: True, unsafe=True)
    assert fixed.decode() == example("BN105", "Fixed", 0).code
    assert fix_source(fixed, "page.py", lambda finding: True, unsafe=True) == fixed


@pytest.mark.parametrize("right", list(examples("Good", "Fixed", family="BN1")), ids=str)
def test_right_gradients_agree_with_finite_differences(right: Example, tmp_path: Path) -> None:
    layer = layer_of(right.code, tmp_path).double()

    # Slow mode: the fast one overlooks a stopped variance.
    assert torch.autograd.gradcheck(layer, batch(3, CHANNELS, 2, 2).requires_grad_(), fast_mode=False)


def test_finite_differences_tell_bad_gradients(tmp_path: Path) -> None:
    for bad in (bad for bad in BAD_LAYERS if bad.page.code not in STRUCTURAL):
        layer, x = layer_of(bad.code, tmp_path).double(), batch(3, CHANNELS, 2, 2).requires_grad_()
        assert not torch.autograd.gradcheck(layer, x, fast_mode=False, raise_exception=False), bad


@pytest.mark.parametrize(
    ("code", "number", "old", "new", "reported"),
    [
        pytest.param("BN101", 1, "return (x - mean)", "return (x - mean.detach())", "BN101", id="mean outside"),
        pytest.param(
            "BN101",
            1,
            "((x - mean.detach()) ** 2).mean((0, 2, 3), keepdim=True)",
            "(x**2).mean((0, 2, 3), keepdim=True) - mean.detach() ** 2",
            "BN101",
            id="mean of a variance of raw values",
        ),
        pytest.param(
            "BN103", 0, "x = x.detach()\n        mean, std = x.mean", "mean, std = x.data.mean", "BN103", id="x"
        ),
        pytest.param("BN104", 1, "return x - mean", "return x - mean.item()", "BN104", id="number in the output"),
    ],
)
def test_what_is_right_ends_where_the_stop_reaches_the_output(
    code: str, number: int, old: str, new: str, reported: str, tmp_path: Path
) -> None:
    right = example(code, "When it is right", number).code
    assert right.count(old) == 1
    bad = right.replace(old, new)

    found = {finding.code for finding in check_source(bad.encode(), "page.py")}
    assert {code for code in found if code.startswith("BN1")} == {reported}
    assert {finding.code for finding in check_model(layer_of(bad, tmp_path), batch().float())} == {reported}


@pytest.mark.parametrize(("live", "statistic"), [("x - mean.view", "mean"), ("/ std.view", "var")])
def test_batch_renormalization_needs_live_statistics_beside_its_factors(
    live: str, statistic: str, tmp_path: Path
) -> None:
    right = example("BN101", "When it is right", 2).code
    assert right.count(live) == 1

    findings = check_model(layer_of(right.replace(live, live.replace(".view", ".detach().view")), tmp_path))
    assert [(finding.code, finding.statistic) for finding in findings] == [("BN101", statistic)]


def test_initialization_from_data_is_right_once_and_wrong_in_every_step(tmp_path: Path) -> None:
    once = example("BN102", "When it is right", 2).code
    always = once.replace("if not self.initialized:", "if True:")
    data = once.replace(".copy_(", ".data.copy_(")
    assert len({once, always, data}) == 3

    assert check_source(data.encode(), "page.py") == check_model(layer_of(data, tmp_path)) == []
    assert check_model(layer_of(once, tmp_path), batch().float()) == []
    assert [finding.code for finding in check_model(layer_of(always, tmp_path), batch().float())] == ["BN107"]


def test_a_number_is_lost_in_arithmetic_of_python(tmp_path: Path) -> None:
    bad = example("BN104", "Bad", 0).code.replace(".item()", ".item() + 0.0").replace(" + self.eps)", ") + self.eps")

    assert [finding.code for finding in check_source(bad.encode(), "page.py")] == ["BN104", "BN104"]
    assert [finding.code for finding in check_model(layer_of(bad, tmp_path))] == ["BN107"]


def test_a_stop_before_the_statistic_moves_to_the_buffer_that_it_fed(tmp_path: Path) -> None:
    update = "        self.running_mean.add_({}self.momentum * (mean.flatten() - self.running_mean){})\n"
    use = "        x = (x - mean)"
    bad, fixed = example("BN103", "Bad", 0), example("BN103", "Fixed", 0)

    code = fix_source(
        bad.code.replace(use, update.format("", "") + use).encode(), "page.py", lambda finding: True
    ).decode()

    assert code == fixed.code.replace(use, update.format("(", ").detach()") + use)
    layer = layer_of(code, tmp_path)
    for _ in range(2):  # a running statistic with a graph would fail in the second step
        layer(batch().float().requires_grad_()).square().sum().backward()
    assert told(bad.page, check_source(code.encode(), "page.py")) == check_model(layer) == []


UPDATES = """\
        if self.training:
            mean = mean.clone(); self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(var.flatten(), self.momentum)
        return mean, var
"""


@pytest.mark.parametrize(
    ("number", "old", "new"),
    [
        pytest.param(0, "torch.no_grad():", "torch.no_grad() as off:", id="manager in use"),
        pytest.param(1, "        return mean, var\n", UPDATES, id="statistic and update on one line"),
    ],
)
def test_where_no_fix_is_the_finding_names_none_and_repair_still_works(
    number: int, old: str, new: str, tmp_path: Path
) -> None:
    code = example("BN102", "Bad", number).code
    assert old in code
    bad = code.replace(old, new)

    findings = told(example("BN102", "Bad", number).page, check_source(bad.encode(), "page.py"))
    assert {finding.code for finding in findings} == {"BN102"}
    assert all(finding.fix is None for finding in findings)
    assert fix_source(bad.encode(), "page.py", lambda finding: True).decode() == bad
    assert [certificate.accepted for certificate in repair(layer_of(bad, tmp_path))] == [True]
