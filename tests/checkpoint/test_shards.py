"""Folders of torch.distributed.checkpoint: checked, copied, changed, and read again by torch itself."""

import json

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.multiprocessing as processes
from test_follow import Wide, flatten, net
from torch import nn
from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save
from torch.distributed.tensor import DeviceMesh, Shard, distribute_tensor

from bnlint.checkpoint.contents import contents
from bnlint.checkpoint.follow import follow, held, moves
from bnlint.checkpoint.formats import load
from bnlint.checkpoint.models import check_models, opened
from bnlint.checkpoint.repair import _written, repair_checkpoint
from bnlint.checkpoint.trust import Trust
from bnlint.cli import main
from bnlint.errors import InputError
from bnlint.model.inputs import Inputs

pytestmark = pytest.mark.filterwarnings("ignore")


def factory():
    return net(Wide(4, stop=True))


def training():
    model = factory()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "log": [{"loss": 0.5, "at": (1, "a")}, {"half": torch.ones(3, dtype=torch.bfloat16)}],
        "none": None,
        "empty": torch.empty(0, 2),
    }


def one_file(folder, file):
    """What torch makes of a folder."""
    dcp_to_torch_save(folder, file)
    return torch.load(file, weights_only=False)


def bits(value):
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.contiguous().flatten().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items()}
    return [bits(item) for item in value] if isinstance(value, list) else value


def changed(path, output):
    """Write what a repair makes of a folder that gives parameters of a layer other shapes and names."""
    found = opened(load(path), factory)
    ((_, model),) = found.models
    before = held(model)
    flatten(model)
    made = moves(before, held(model))
    follow(found.checkpoint.content, found.states, made, before)
    assert made and _written(found, made, output, Trust())


def listed(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def work(index, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=index, world_size=2)
    mesh = DeviceMesh("cpu", [0, 1])
    state = {key: distribute_tensor(value, mesh, [Shard(0)]) if value.dim() else value
             for key, value in factory().state_dict().items()}  # fmt: skip
    dcp.save({"model": state, "epoch": 3}, checkpoint_id=folder / "shards")
    dist.destroy_process_group()


def test_what_torch_reads_of_a_folder_is_what_is_read(tmp_path):
    dcp.save(training(), checkpoint_id=tmp_path / "shards")
    checkpoint = load(tmp_path / "shards")
    expected = one_file(tmp_path / "shards", tmp_path / "m.pt")

    def read(value):
        if isinstance(value, dict):
            return {key: read(item) for key, item in value.items()}
        return [read(item) for item in value] if isinstance(value, list) else checkpoint.read(value)

    assert bits(read(checkpoint.content)) == bits(expected)


def test_shards_that_two_processes_wrote_are_put_together(tmp_path):
    processes.spawn(work, (tmp_path,), nprocs=2)
    assert len(list((tmp_path / "shards").glob("*.distcp"))) == 2

    found = opened(load(tmp_path / "shards"), factory)

    ((_, model),) = found.models
    assert bits(dict(model.state_dict())) == bits(dict(factory().state_dict()))
    assert bits(dict(model.state_dict())) == bits(one_file(tmp_path / "shards", tmp_path / "m.pt")["model"])
    assert [item.layer.path for item in check_models(found, Inputs()) if item.measured.wrong] == ["1"]


@pytest.mark.parametrize("in_place", [False, True])
def test_a_folder_that_fits_the_repaired_model_is_copied_byte_by_byte(tmp_path, in_place):
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    before, output = listed(tmp_path / "a"), tmp_path / ("a" if in_place else "b")

    result = repair_checkpoint(tmp_path / "a", output, Trust(), factory=factory)

    assert [(c.module, c.accepted) for c in result.certificates] == [("1", True)]
    assert result.written is not in_place and result.moved == ()
    assert listed(tmp_path / "a") == listed(output) == before
    assert {path.name for path in tmp_path.iterdir()} == {"a", output.name}


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("world", [1, 2])
def test_shapes_that_change_are_written_and_all_else_stays_the_same(tmp_path, in_place, world):
    if world == 1:
        dcp.save(training(), checkpoint_id=tmp_path / "shards")
    else:
        processes.spawn(work, (tmp_path,), nprocs=2)
    output = tmp_path / ("shards" if in_place else "out")
    before, data = one_file(tmp_path / "shards", tmp_path / "before.pt"), listed(tmp_path / "shards")

    changed(tmp_path / "shards", output)

    after = one_file(output, tmp_path / "after.pt")
    model = before["model"]
    model = {key.replace("gamma", "weight"): v.reshape(4) if "1." in key else v for key, v in model.items()}
    assert bits(after["model"]) == bits(model)
    flat = {"gamma": 3, "bias": 2}
    for number, state in before.get("optimizer", {"state": {}})["state"].items():
        for name, value in state.items():
            moved = value.reshape(4) if int(number) in flat.values() and value.dim() else value
            assert bits(after["optimizer"]["state"][number][name]) == bits(moved)
    rest = [key for key in before if key not in ("model", "optimizer")]
    assert bits({key: after[key] for key in rest}) == bits({key: before[key] for key in rest})
    unchanged = {name: text for name, text in data.items() if name != ".metadata"}
    assert unchanged.items() <= listed(output).items()
    if not in_place:
        assert listed(tmp_path / "shards") == data
    again = {"model": {key: torch.zeros_like(value) for key, value in model.items()}}
    dcp.load(again, checkpoint_id=output)
    assert bits(again["model"]) == bits(model)


def test_a_folder_that_cannot_be_written_is_left_as_it_was(tmp_path, monkeypatch):
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    before = listed(tmp_path / "a")

    def fail(*_):
        raise InputError("no")

    monkeypatch.setattr("bnlint.checkpoint.shards.write.require_same_tensors", fail)
    for output in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(InputError, match="no"):
            changed(tmp_path / "a", output)
    assert listed(tmp_path / "a") == before and [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match="exists"):
        repair_checkpoint(tmp_path / "a", tmp_path / "c", Trust(), factory=factory)


def ended(*arguments):
    with pytest.raises(SystemExit) as caught:
        main([*arguments])
    return caught.value.code


def test_the_commands_take_a_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.py").write_text("from test_shards import factory\n")
    monkeypatch.syspath_prepend(tmp_path)
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    named = ["--model", "models:factory"]
    assert ended("check", "a", *named) == 1
    assert "BN101" in capsys.readouterr().out
    assert ended("fix", "a", *named, "-o", "b", "--certificate", "c.json") == 0
    told = json.loads((tmp_path / "c.json").read_text())
    assert told["input"]["sha256"] == told["output"]["sha256"]
    assert ended("inspect", "b", "--output-format", "json") == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") :])["format"] == "torch.distributed.checkpoint"


def test_a_folder_is_listed_with_tensors_values_and_globals(tmp_path):
    dcp.save({**training(), "layers": ({"a": nn.Linear(2, 2)},)}, checkpoint_id=tmp_path / "a")
    found = contents(tmp_path / "a")
    state = factory().state_dict()
    assert found.format == "torch.distributed.checkpoint"
    assert found.size == sum(map(len, listed(tmp_path / "a").values()))
    tensors = {t.place: (t.dtype, t.shape) for t in found.tensors}
    assert {f"model.{key}": ("float32", tuple(v.shape)) for key, v in state.items()}.items() <= tensors.items()
    assert {("epoch", "3"), ("log.0.loss", "0.5"), ("none", "None")} <= set(found.values)
    assert ("layers.0.a", "torch.nn.modules.linear.Linear") in found.modules
    assert {how for _, how in found.globals} == {"known"}


@pytest.mark.parametrize("lost", ["file", "end"])
def test_a_folder_that_lacks_something_says_what(tmp_path, lost):
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    (file,) = (tmp_path / "a").glob("*.distcp")
    if lost == "file":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-9000])
    with pytest.raises(InputError, match=r"`__0_0\.distcp` is not in" if lost == "file" else "cut short"):
        load(tmp_path / "a")


def test_a_damaged_tensor_is_told_by_name(tmp_path):
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    checkpoint = load(tmp_path / "a")
    part = checkpoint.shards.index.entries["model.0.weight"].parts[0]
    data = bytearray((tmp_path / "a" / part.file).read_bytes())
    at = part.start + part.length // 2
    data[at] ^= 1
    (tmp_path / "a" / part.file).write_bytes(data)
    with pytest.raises(InputError, match=r"model\.0\.weight: damaged"):
        opened(load(tmp_path / "a"), factory)


def test_a_copy_that_does_not_read_back_is_no_folder(tmp_path, monkeypatch):
    dcp.save(training(), checkpoint_id=tmp_path / "a")

    def copy(source, target, _length):
        data = bytearray(source.read())
        data[len(data) // 2] ^= 1
        target.write(data)

    monkeypatch.setattr("bnlint.checkpoint.shards.write.shutil.copyfileobj", copy)
    with pytest.raises(InputError, match="does not read back"):
        repair_checkpoint(tmp_path / "a", tmp_path / "b", Trust(), factory=factory)
    assert {path.name for path in tmp_path.iterdir()} == {"a"}


@pytest.mark.parametrize("in_place", [False, True])
def test_a_changed_tensor_that_does_not_read_back_is_not_written(tmp_path, monkeypatch, in_place):
    dcp.save(training(), checkpoint_id=tmp_path / "a")
    before, output = listed(tmp_path / "a"), tmp_path / ("a" if in_place else "b")
    write = FileSystemWriter.write_data

    def spoiled(self, plan, planner):
        resolve = planner.resolve_data
        planner.resolve_data = lambda item: data + 1 if isinstance(data := resolve(item), torch.Tensor) else data
        return write(self, plan, planner)

    monkeypatch.setattr(FileSystemWriter, "write_data", spoiled)
    with pytest.raises(InputError, match="does not read back"):
        changed(tmp_path / "a", output)
    assert listed(tmp_path / "a") == before
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
