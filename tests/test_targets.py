from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.targets import Targets, sort_targets


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_argument_is_the_current_folder() -> None:
    assert sort_targets([]) == Targets(sources=(Path(),))


@pytest.mark.parametrize("argument", ["pkg:make", "pkg.mod:make", "pkg.mod:Class.method", "_a._b:_c"])
def test_factory(argument: str) -> None:
    assert sort_targets([argument]) == Targets(factories=(argument,))


@pytest.mark.parametrize(
    "argument", ["src", "src/a.py", "pkg.mod", "C:\\src", ":make", "pkg:", "a b:c", "pkg.mod:make()", "1a:b", "x/y:z"]
)
def test_a_path(argument: str) -> None:
    assert sort_targets([argument]) == Targets(sources=(Path(argument),))


@pytest.mark.parametrize(
    "argument", ["model.pt", "a/b.pth", "x.ckpt", "x.bin", "x.pkl", "x.safetensors", "x.pt2", "X.PT"]
)
def test_a_checkpoint_by_its_ending_even_if_it_is_missing(argument: str) -> None:
    assert sort_targets([argument]) == Targets(checkpoints=(Path(argument),))


def test_a_path_that_exists_is_a_path(here: Path) -> None:
    (here / "pkg:make").write_text("")
    (here / "folder.pt").mkdir()
    assert sort_targets(["pkg:make", "folder.pt"]) == Targets(sources=(Path("pkg:make"), Path("folder.pt")))


def test_kinds_may_be_mixed_and_keep_their_order() -> None:
    found = sort_targets(["b.py", "m:f", "w.pt", "a.py", "v.pt"])
    assert found == Targets((Path("b.py"), Path("a.py")), (Path("w.pt"), Path("v.pt")), ("m:f",))


@pytest.mark.parametrize(("argument", "models"), [("a.py", False), ("m.pt", True), ("m:f", True)])
def test_only_models_need_torch(argument: str, models: bool) -> None:
    assert sort_targets([argument]).models is models


def test_a_folder_of_shards_is_a_checkpoint(tmp_path):
    (tmp_path / ".metadata").touch()
    assert sort_targets([str(tmp_path)]).checkpoints == (tmp_path,)
