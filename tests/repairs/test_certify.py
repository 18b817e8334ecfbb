import math
import re
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn
from variants import HandNorm, batch, gradients, pair, state

from bnlint.errors import RepairError
from bnlint.model.measure import measure
from bnlint.repairs.certify import Proof, prove, require_same_tensors
from bnlint.repairs.disturb import disturbed
from bnlint.repairs.recognize import recognize
from bnlint.repairs.samples import samples_of

GOOD = Proof("cpu", ((4, 4, 4, 4),), 0.0, 0.0, 0.0, 1e-12, 0.4, 1e-12)


def twin(layer, cls=nn.BatchNorm2d, **options):
    """A candidate with the layer's own tensors."""
    candidate = cls(4, **{"eps": layer.eps, **options}).to(layer.weight.dtype)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(candidate, name, getattr(layer, name))
    return candidate


def proof_of(layer, candidate, *, adopted=False):
    recipe = recognize(layer, measure(layer, ((batch(),), {})))
    return prove(layer, candidate, samples_of(recipe, layer.weight), adopted=adopted)


def test_the_right_candidate_is_proved():
    layer, _ = pair()
    probe = measure(layer, ((batch(),), {}))

    proof = proof_of(layer, twin(layer))

    assert proof.failure(adopted=False) is None
    assert proof.shapes[0] == probe.shape and len(set(proof.shapes)) == 3
    assert {shape[1] for shape in proof.shapes} == {4}
    assert len({shape[0] for shape in proof.shapes}) == len({shape[2] for shape in proof.shapes}) == 3
    assert proof.device == "cpu"
    assert max(proof.output_error, proof.eval_error, proof.buffer_error, proof.gradient_error) < 1e-12


def test_the_error_before_is_that_of_the_stopped_layer():
    layer, corrected = pair()
    proof = proof_of(layer, twin(layer))

    # The probes are random; the layers are the same, so an independent batch gives an error of the same size.
    seen, true = gradients(layer, batch(seed=9))["input"], gradients(corrected, batch(seed=9))["input"]
    assert proof.gradient_error_before == pytest.approx(float((seen - true).norm() / true.norm()), rel=1.5)
    assert proof.gradient_error_before > 0.05


def test_the_stopped_layer_is_no_candidate_for_itself():
    layer, _ = pair()
    candidate = HandNorm().double()
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(candidate, name, getattr(layer, name))

    proof = proof_of(layer, candidate)

    assert proof.failure(adopted=False) == "its gradient differs from the float64 reference"
    assert proof.mean_identity > 1e-3
    assert max(proof.output_error, proof.eval_error, proof.buffer_error) < 1e-12


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"eps": 1.1e-3}, "outputs in training mode"),
        ({"momentum": 0.1001}, "buffers|eval"),
        ({"momentum": None}, "buffers|eval"),
    ],
)
def test_near_misses_fail(options, reason):
    layer, _ = pair()
    assert re.search(reason, proof_of(layer, twin(layer, **options)).failure(adopted=False))


def test_neither_layer_changes():
    layer, _ = pair()
    candidate = twin(layer).eval()
    before = state(layer)

    proof_of(layer, candidate)

    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())
    assert layer.training and not candidate.training
    assert candidate.weight is layer.weight and layer.weight.grad is None


def test_copies_of_the_tensors_will_not_do():
    layer, _ = pair()
    candidate = nn.BatchNorm2d(4, eps=layer.eps).double()
    candidate.load_state_dict(layer.state_dict())

    with pytest.raises(RepairError, match="same objects"):
        require_same_tensors(layer, candidate)
    require_same_tensors(layer, twin(layer))


def test_adopted_outputs_may_move_but_the_gradient_may_not_be_wrong():
    layer, _ = pair(unbiased=True)
    moved = proof_of(layer, twin(layer), adopted=True)
    assert moved.failure(adopted=True) is None
    assert moved.failure(adopted=False) == "its outputs in training mode differ"
    # torch's biased variance is (n-1)/n of the unbiased one, n = 2*2*2 values on the smallest probe
    smallest = math.prod(min(moved.shapes)) / 4
    assert moved.output_error == pytest.approx((smallest / (smallest - 1)) ** 0.5 - 1, rel=0.2)

    stopped, _ = pair()
    candidate = HandNorm().double()
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
        setattr(candidate, name, getattr(stopped, name))
    assert proof_of(stopped, candidate, adopted=True).failure(adopted=True) is not None


@pytest.mark.parametrize("field", ["output_error", "eval_error", "buffer_error", "gradient_error", "mean_identity"])
@pytest.mark.parametrize("value", [1e-6, math.inf, math.nan])
def test_each_number_can_fail_a_proof(field, value):
    assert GOOD.failure(adopted=False) is None
    proof = replace(GOOD, **{field: value})

    assert proof.failure(adopted=False) is not None
    assert (proof.failure(adopted=True) is None) is (field in {"output_error", "eval_error", "buffer_error"})
    assert set(asdict(proof)) >= {"device", "shapes", field}


def test_a_disturbed_copy_hides_nothing_and_depends_on_names_only():
    layer, other = HandNorm(), HandNorm(bias_first=True)
    nn.init.zeros_(layer.weight)

    first, second = disturbed(layer), disturbed(other)

    assert {t.dtype for t in first.parameters()} == {torch.float64}
    values = [first.weight, first.bias, first.running_mean, first.running_var]
    assert all(len(value.unique()) == 4 for value in values)
    assert all(not torch.equal(a, b) for i, a in enumerate(values) for b in values[:i])
    assert bool((first.running_var > 0).all()) and int(first.num_batches_tracked) > 0
    assert all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())
    assert not layer.weight.any() and layer.weight.dtype is torch.float32


@pytest.mark.parametrize("name", ["moving_var", "running_std", "spread"])
def test_what_a_root_may_be_taken_of_stays_positive(name):
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.ones(9))
    layer.register_buffer(name, torch.ones(9) if name == "spread" else torch.zeros(9))
    assert bool((disturbed(layer).get_buffer(name) > 0).all()) and not (disturbed(layer).weight > 0).all()


def test_where_only_finite_differences_tell_the_proof_says_what_they_said():
    assert replace(GOOD, numeric_error=1e-5).failure(adopted=False) is None
    for wrong in (0.2, math.nan):
        assert "finite differences" in (replace(GOOD, numeric_error=wrong).failure(adopted=False) or "")


def test_a_reference_is_no_finite_difference():
    layer, _ = pair()
    assert proof_of(layer, twin(layer)).numeric_error is None
