import sys

import pytest
import torch
from torch import nn

from bnlint.errors import InputError, UsageError
from bnlint.model.factories import load_factory
from bnlint.model.inputs import Inputs, parse_inputs, usable_device

PACKAGE = """
from torch import nn

model = nn.BatchNorm2d(3)
number = 7

def factory():
    return nn.ReLU()

def failing():
    raise ValueError("first line\\nsecond line")

def leaving():
    raise SystemExit(3)

class Zoo:
    @staticmethod
    def tanh():
        return nn.Tanh()

class Net(nn.Module):
    pass
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "pkg_of_models").mkdir()
    (tmp_path / "pkg_of_models" / "__init__.py").touch()
    (tmp_path / "pkg_of_models" / "mod.py").write_text(PACKAGE)
    (tmp_path / "pkg_of_models" / "broken.py").write_text("import no_such_module_at_all")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "pkg_of_models"
    for name in [name for name in sys.modules if name.startswith("pkg_of_models")]:
        del sys.modules[name]


def test_shapes_become_normal_tensors_from_a_fixed_seed():
    first, second = parse_inputs(["8x3x32x32", "5X2"]).args

    assert first.shape == (8, 3, 32, 32) and second.shape == (5, 2)
    assert first.dtype is torch.float32
    assert float(first.std()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(first, parse_inputs(["8x3x32x32"]).args[0])
    assert parse_inputs(["7"]).args[0].shape == (7,)
    assert parse_inputs([]) == Inputs()


def test_parsing_leaves_the_random_state_alone():
    before = torch.get_rng_state()
    parse_inputs(["4x4"])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("spec", ["", "x", "8x", "8,3", "8x-3", "0x3", "8x3.5", "axb", "²x3", "8 x 3"])
def test_what_is_no_shape_is_refused(spec):
    with pytest.raises(UsageError, match="not a shape") as error:
        parse_inputs([spec])
    assert error.value.where == "--input"


def test_a_shape_beyond_memory_is_refused():
    with pytest.raises(UsageError, match="cannot be made"):
        parse_inputs(["999999x999999x999999"])


@pytest.mark.parametrize(("name", "kind"), [("factory", nn.ReLU), ("model", nn.BatchNorm2d), ("Zoo.tanh", nn.Tanh)])
def test_a_factory_is_called_and_a_model_is_taken(package, name, kind):
    assert type(load_factory(f"{package}.mod:{name}")) is kind


def test_a_class_is_a_factory_of_its_instances(package):
    assert type(load_factory(f"{package}.mod:Net")).__name__ == "Net"


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("mod:failing", "ValueError: first line$"),
        ("mod:leaving", "SystemExit: 3"),
        ("mod:absent", "AttributeError"),
        ("mod:Zoo.absent", "AttributeError"),
        ("absent:factory", "ModuleNotFoundError"),
        ("broken:factory", "no_such_module_at_all"),
        ("mod:number", "TypeError"),
        ("mod:Zoo", "gives a Zoo, not an nn.Module"),
    ],
)
def test_what_cannot_be_had_says_why(package, target, said):
    with pytest.raises(InputError, match=said) as error:
        load_factory(f"{package}.{target}")
    assert error.value.where == f"{package}.{target}"


def test_a_device_that_is_there_is_given():
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(UsageError, match="cannot be used") as error:
        usable_device(device)
    assert error.value.where == "--device"
