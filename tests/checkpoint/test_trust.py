import sys
from functools import partial

import pytest
import torch
from hostile import ATTACKS, write_attack, write_program
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.formats import load
from bnlint.checkpoint.trust import Trust, globals_of, resolve
from bnlint.errors import InputError, UntrustedError
from bnlint.repairs.apply import repair


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import leaves a marker, with a class, a function and a class that carries code."""
    marker = tmp_path / "imported"
    (tmp_path / "outsider").mkdir()
    (tmp_path / "outsider" / "__init__.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    (tmp_path / "outsider" / "layers.py").write_text(
        "import torch\n"
        "class Scale(torch.nn.Module):\n    def forward(self, x):\n        return 2 * x\n"
        "class Traced(torch.fx.GraphModule):\n    pass\n"
        "def swish(x):\n    return x\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield marker
    for name in [name for name in sys.modules if name.partition(".")[0] == "outsider"]:
        del sys.modules[name]


def write_scale(path):
    write_program(path, b"\x80\x02coutsider.layers\nScale\n)\x81}X\x08\x00\x00\x00trainingNsb.")


@pytest.mark.parametrize("attack", sorted(ATTACKS))
@pytest.mark.parametrize("allow", [(), ("os", "posix", "builtins", "_io", "torch", "io", "subprocess", "commands")])
def test_no_attack_runs_whatever_is_allowed(tmp_path, attack, allow):
    path, marker = tmp_path / "model.pt", tmp_path / "ran"
    write_attack(path, attack, marker)
    marker.unlink(missing_ok=True)
    with pytest.raises(UntrustedError) as caught:
        load(path, Trust(allow=allow))
    assert not marker.exists()
    assert "--allow" not in caught.value.hint
    assert "--trust" not in caught.value.hint


def test_the_attacks_are_real(tmp_path):
    for attack in ("os.system", "nested", "eval", "setstate", "graph_module", "load_from_bytes"):
        path, marker = tmp_path / "model.pt", tmp_path / f"ran-{attack}"
        write_attack(path, attack, marker)
        load(path, Trust(everything=True))
        assert marker.exists(), attack


@pytest.mark.parametrize("attack", ["os.system", "setstate"])
def test_a_pickle_whose_globals_cannot_be_listed_is_refused(tmp_path, attack):
    path, marker = tmp_path / "model.pt", tmp_path / "ran"
    write_attack(path, attack, marker, protocol=4)
    with pytest.raises(UntrustedError, match="cannot be listed"):
        load(path)
    assert not marker.exists()


def test_what_the_loader_refuses_is_untrusted(tmp_path):
    path = tmp_path / "model.pt"
    write_program(path, b"\x80\x02}(K\x01K\x02u)R.")
    with pytest.raises(UntrustedError, match="refused while loading: Trying to call reduce"):
        load(path)


def test_listing_imports_nothing(tmp_path, package):
    path = tmp_path / "model.pt"
    write_scale(path)
    assert globals_of(path) == ("outsider.layers.Scale",)
    with pytest.raises(UntrustedError) as caught:
        resolve(path, Trust())
    assert caught.value.hint == f"bnlint check {path} --allow outsider.layers.Scale"
    assert not package.exists()


@pytest.mark.parametrize("allow", ["outsider", "outsider.layers", "outsider.layers.Scale"])
def test_a_class_or_its_package_can_be_named(tmp_path, package, allow):
    path = tmp_path / "model.pt"
    write_scale(path)
    ((cls, name),) = resolve(path, Trust(allow=(allow,)))
    assert (cls.__name__, name) == ("Scale", "outsider.layers.Scale")
    assert package.exists()


@pytest.mark.parametrize("allow", ["out", "outsider.layers.Sca", "outsider.layers.Scale.x", "Scale"])
def test_a_part_of_a_name_is_not_the_name(tmp_path, package, allow):
    path = tmp_path / "model.pt"
    write_scale(path)
    with pytest.raises(UntrustedError):
        resolve(path, Trust(allow=(allow,)))
    assert not package.exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("swish", "not a class"), ("Traced", "carries code"), ("Gone", "no such class")],
)
def test_naming_a_package_admits_its_classes_only(tmp_path, package, name, why):
    path = tmp_path / "model.pt"
    write_program(path, f"\x80\x02coutsider.layers\n{name}\n.".encode("latin1"))
    with pytest.raises(UntrustedError, match=why):
        resolve(path, Trust(allow=("outsider", f"outsider.layers.{name}")))


def test_a_package_that_does_not_import_is_one_clear_error(tmp_path):
    path = tmp_path / "model.pt"
    write_program(path, b"\x80\x02cno_such_package.layers\nNorm\n.")
    with pytest.raises(InputError, match=r"cannot import no_such_package\.layers"):
        resolve(path, Trust(allow=("no_such_package",)))


def test_all_refused_globals_are_listed_with_one_command(tmp_path):
    path = tmp_path / "my model.pt"
    write_program(path, b"\x80\x02(c__main__\nNet\nc__main__\nNorm\nclib.layers\nBlock\nt.")
    with pytest.raises(UntrustedError) as caught:
        resolve(path, Trust())
    assert caught.value.what.splitlines()[1:] == ["  __main__.Net", "  __main__.Norm", "  lib.layers.Block"]
    command = f"bnlint check '{path}' --code FILE.py --allow lib.layers.Block"
    assert caught.value.hint.startswith(command)
    assert "Net, Norm" in caught.value.hint


def test_a_name_cannot_steer_the_terminal_or_the_command(tmp_path):
    path = tmp_path / "model.pt"
    write_program(path, b"\x80\x02cpkg\x1b[2J\nNet; touch x\n.")
    with pytest.raises(UntrustedError) as caught:
        resolve(path, Trust(allow=("pkg",)))
    assert "\x1b" not in str(caught.value)
    assert "touch" not in caught.value.hint


def test_a_packages_main_module_is_not_run(tmp_path, package, monkeypatch):
    (tmp_path / "outsider" / "__main__.py").write_text("raise AssertionError\n")
    path = tmp_path / "model.pt"
    write_program(path, b"\x80\x02coutsider.__main__\nNet\n.")
    with pytest.raises(UntrustedError):
        resolve(path, Trust(allow=("outsider",)))


def test_named_code_stands_in_for_any_module_but_not_for_a_library(tmp_path):
    class BatchNorm2d(nn.Module):
        pass

    path = tmp_path / "model.pt"
    names = "__main__", "old.place", "torch.nn.modules.batchnorm"
    write_program(path, b"\x80\x02(" + b"".join(f"c{name}\nBatchNorm2d\n".encode() for name in names) + b"t.")
    found = {name: value for value, name in resolve(path, Trust(code={"BatchNorm2d": BatchNorm2d}))}
    assert found["__main__.BatchNorm2d"] is found["old.place.BatchNorm2d"] is BatchNorm2d
    assert found["torch.nn.modules.batchnorm.BatchNorm2d"] is nn.BatchNorm2d


def test_only_layers_of_the_libraries_are_admitted_unnamed(tmp_path):
    path = tmp_path / "model.pt"
    for name in ("torch.nn.modules.module\nModule", "torchvision.ops.misc\nConv2dNormActivation"):
        write_program(path, f"\x80\x02c{name}\n.".encode("latin1"))
        assert resolve(path, Trust())
    outside = "torch.fx.graph_module\nGraphModule", "torch.optim.adam\nAdam", "torchvision.models._api\nWeightsEnum"
    for name in (
        *outside,
        "torch.nn.modules.module\nOrderedDict",
        "torchvision.models.feature_extraction\nDualGraphModule",
    ):
        write_program(path, f"\x80\x02c{name}\n.".encode("latin1"))
        with pytest.raises(UntrustedError):
            resolve(path, Trust())


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True), 1),
        lambda: nn.Sequential(
            nn.LSTM(3, 4), nn.Conv2d(3, 4, 3), nn.SyncBatchNorm(4), nn.ParameterList([torch.ones(1)])
        ),
        lambda: {"model": nn.DataParallel(nn.Linear(2, 2)), "norm": partial(nn.LayerNorm, eps=1e-6)},
    ],
)
def test_models_of_torch_load_unnamed(tmp_path, build):
    path = tmp_path / "model.pt"
    torch.save(build(), path)
    assert type(load(path).content) is type(build())


def test_models_of_torchvision_load_unnamed(tmp_path):
    models = pytest.importorskip("torchvision").models
    builds = {
        "vit": lambda: models.VisionTransformer(32, 16, 1, 2, 16, 32, num_classes=4),
        "convnext": lambda: models.ConvNeXt([models.convnext.CNBlockConfig(8, None, 2)], num_classes=4),
        "shufflenet": models.shufflenet_v2_x0_5,
    }
    for name, build in builds.items():
        path = tmp_path / f"{name}.pt"
        model = build().eval()
        torch.save(model, path)
        x = torch.randn(1, 3, 32, 32)
        torch.testing.assert_close(load(path).content(x), model(x), rtol=0, atol=0)


def test_an_averaged_model_of_torch_is_a_layer(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(nn.Sequential(nn.Linear(2, 2)))
    torch.save({"swa": averaged}, tmp_path / "a.pt")
    found = load(tmp_path / "a.pt").content["swa"]
    assert type(found) is torch.optim.swa_utils.AveragedModel and type(found.module[0]) is nn.Linear


def test_of_a_compiled_model_it_is_told_what_to_save(tmp_path):
    torch.save({"m": torch.compile(nn.Linear(2, 2), backend="eager")}, tmp_path / "a.pt")
    with pytest.raises(UntrustedError) as caught:
        load(tmp_path / "a.pt")
    assert "torch.compile returned: save its `_orig_mod`" in caught.value.hint


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_was_repaired_and_pickled_loads_unnamed_with_its_hook(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), HandNorm(counts=None))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    repair(model, torch.randn(4, 3, 5, 5))
    torch.save(model, tmp_path / "model.pt")

    loaded = load(tmp_path / "model.pt", Trust()).content

    assert type(loaded[1]) is nn.BatchNorm2d
    loaded.load_state_dict(before)
