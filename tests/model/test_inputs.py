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


def test_a_name_that_is_not_there_leads_to_the_nearest(package):
    with pytest.raises(InputError) as error:
        load_factory(f"{package}.mod:factroy")
    assert error.value.hint == "did you mean `factory`?"


def test_a_module_below_src_is_told_how_it_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "src" / "kept_below").mkdir(parents=True)
    (tmp_path / "src" / "kept_below" / "model.py").write_text("x = 1\n")
    for target in ("kept_below:factory", "kept_below.model:factory"):
        with pytest.raises(InputError) as error:
            load_factory(target)
        assert "PYTHONPATH=src" in error.value.hint
    with pytest.raises(InputError) as error:
        load_factory("nowhere_at_all:factory")
    assert "PYTHONPATH" not in error.value.hint


def test_a_device_that_is_there_is_given():
    assert usable_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_a_device_that_is_not_there_is_refused(device):
    with pytest.raises(UsageError, match="cannot be used") as error:
        usable_device(device)
    assert error.value.where == "--device"


# -- types, names, files and functions


@pytest.mark.parametrize("name", ["float64", "bfloat16", "half", "int64", "int32", "uint8", "bool", "complex64"])
def test_a_type_can_be_said(name):
    (tensor,) = parse_inputs([f"4x6:{name}"]).args
    assert tensor.dtype is getattr(torch, name) and tensor.shape == (4, 6)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        assert set(tensor.unique().tolist()) == {0, 1}  # any embedding, class or mask takes these


@pytest.mark.parametrize("spec", ["4x6:int23", "4x6:", "4x6:tensor"])
def test_what_is_no_type_is_refused(spec):
    with pytest.raises(UsageError, match="not a type"):
        parse_inputs([spec])


def test_a_name_makes_a_keyword():
    given = parse_inputs(["2x3", "mask=2x3:bool", "k_2=5"])
    assert len(given.args) == 1
    assert {name: tuple(tensor.shape) for name, tensor in given.kwargs.items()} == {"mask": (2, 3), "k_2": (5,)}


@pytest.mark.parametrize(
    ("content", "args", "kwargs"),
    [
        (torch.ones(2, 3), 1, []),
        ((torch.ones(2), torch.ones(3)), 2, []),
        ([torch.ones(2)], 1, []),
        ({"x": torch.ones(2), "mask": torch.ones(2)}, 0, ["x", "mask"]),
    ],
)
def test_a_file_holds_inputs(tmp_path, content, args, kwargs):
    torch.save(content, tmp_path / "batch.pt")
    given = parse_inputs([str(tmp_path / "batch.pt")])
    assert (len(given.args), list(given.kwargs)) == (args, kwargs)


def test_a_file_can_be_one_keyword(tmp_path):
    torch.save({"x": torch.ones(2)}, tmp_path / "batch.pt")
    assert list(parse_inputs([f"batch={tmp_path / 'batch.pt'}"]).kwargs["batch"]) == ["x"]


def test_a_file_runs_nothing(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    for name in ("model.pt", "junk.pt", "absent.pt"):
        with pytest.raises(InputError) as error:
            parse_inputs([str(tmp_path / name)])
        assert error.value.hint


def test_a_dict_is_keywords_or_one_argument_as_the_model_takes_it():
    class Named(nn.Module):
        def forward(self, x, mask=None):
            return x

    class Single(nn.Module):
        def forward(self, batch):
            return batch["x"]

    given = Inputs((), {"x": torch.ones(2)})
    assert given.fitted(Named()) == given
    assert given.fitted(Single()).args == ({"x": given.kwargs["x"]},)
    assert Inputs((torch.ones(1),), {"y": 1}).fitted(Single()).kwargs == {"y": 1}


def test_inputs_go_to_a_device_whole():
    given = Inputs(({"x": torch.ones(2), "n": 3},), {"y": torch.ones(1)}).to("meta")
    assert given.args[0]["x"].is_meta and given.args[0]["n"] == 3 and given.kwargs["y"].is_meta


def test_a_function_makes_inputs(package, tmp_path):
    (tmp_path / "pkg_of_models" / "data.py").write_text(
        "import torch\nready = torch.ones(2)\n"
        "def make():\n    return {'x': torch.ones(3)}\n"
        "def failing():\n    raise OSError('no data')\n"
    )
    assert list(parse_inputs([], f"{package}.data:make").kwargs) == ["x"]
    assert parse_inputs([], f"{package}.data:ready").args[0].shape == (2,)
    with pytest.raises(InputError, match="OSError: no data"):
        parse_inputs([], f"{package}.data:failing")
    with pytest.raises(UsageError, match="stands alone"):
        parse_inputs(["2x3"], f"{package}.data:make")


def test_a_model_without_values_is_refused(package, tmp_path):
    (tmp_path / "pkg_of_models" / "meta.py").write_text(
        "import torch\nfrom torch import nn\ndef make():\n    return nn.Linear(2, 2, device='meta')\n"
    )
    with pytest.raises(InputError, match="meta device") as error:
        load_factory(f"{package}.meta:make")
    assert "to_empty" in error.value.hint
