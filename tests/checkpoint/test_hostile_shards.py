"""Folders made to harm whoever reads them: nothing in them runs, and no file outside is read."""

import os
import pickle

import pytest
import torch
import torch.distributed.checkpoint as dcp
import torch.distributed.checkpoint.format_utils
from hostile import ATTACKS, Call, marked, write_attack
from torch.distributed.checkpoint import metadata as of_torch

from bnlint.checkpoint.contents import contents
from bnlint.checkpoint.formats import load
from bnlint.checkpoint.trust import Trust
from bnlint.errors import BnlintError, InputError, UntrustedError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def folder(tmp_path):
    dcp.save({"w": torch.ones(4, 2), "epoch": 3, "log": [{"a": 1}]}, checkpoint_id=tmp_path / "a")
    return tmp_path / "a"


def rewritten(folder, change):
    """Change a folder's index as somebody would who wants to harm."""
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    change(metadata)
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))


def stored(metadata, name="w"):
    return next(info for at, info in metadata.storage_data.items() if at.fqn == name)


def runs_in(field):
    return lambda metadata, marker: setattr(metadata, field, marked(marker))


RUNNING = {
    **{field: runs_in(field) for field in ("planner_data", "storage_meta", "version", "storage_data")},
    "entry": lambda metadata, marker: metadata.state_dict_metadata.update(x=marked(marker)),
    "size": lambda metadata, marker: setattr(metadata.state_dict_metadata["w"], "size", marked(marker)),
    "file": lambda metadata, marker: setattr(stored(metadata), "relative_path", marked(marker)),
    "torch's own": lambda metadata, marker: setattr(
        metadata, "version", Call(dcp.format_utils.dcp_to_torch_save, ".", str(marker))
    ),
}


@pytest.mark.parametrize("place", RUNNING)
@pytest.mark.parametrize("everything", [False, True])
def test_nothing_runs_that_an_index_calls(folder, tmp_path, place, everything):
    marker = tmp_path / "marker"
    rewritten(folder, lambda metadata: RUNNING[place](metadata, marker))
    with pytest.raises(BnlintError):
        load(folder, Trust(everything=everything))
    try:
        found = contents(folder)
    except InputError:
        found = None
    assert found is None or "torch does not write it there" in {how for _, how in found.globals}
    assert not marker.exists()


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_runs_that_a_value_calls(folder, tmp_path, attack):
    marker = tmp_path / "marker"
    write_attack(folder / "evil", attack, marker)

    def change(metadata):
        info = stored(metadata, "epoch")
        info.relative_path, info.offset, info.length = "evil", 0, (folder / "evil").stat().st_size

    rewritten(folder, change)
    with pytest.raises(UntrustedError, match="nothing"):
        load(folder)
    contents(folder)
    assert not marker.exists()


@pytest.mark.parametrize("attack", ["os.system", "load_from_bytes"])
def test_nothing_runs_that_a_tensor_calls(folder, tmp_path, attack):
    marker = tmp_path / "marker"
    write_attack(folder / "evil", attack, marker)

    def change(metadata):
        info = stored(metadata)
        info.relative_path, info.offset, info.length = "evil", 0, (folder / "evil").stat().st_size

    rewritten(folder, change)
    checkpoint = load(folder)
    with pytest.raises(InputError, match="w: cannot be loaded"):
        checkpoint.read(checkpoint.content["w"])
    assert not marker.exists()


def moved(metadata, **fields):
    vars(stored(metadata)).update(fields)


def entry(metadata):
    return metadata.state_dict_metadata["w"]


def huge(metadata):
    entry(metadata).size = entry(metadata).chunks[0].sizes = torch.Size([1 << 40, 2])


def half(metadata):
    entry(metadata).chunks[0].sizes = torch.Size([2, 2])


def shared(metadata):
    vars(stored(metadata, "epoch")).update(vars(stored(metadata)))


DAMAGED = {
    "up": lambda m: moved(m, relative_path="../outside"),
    "absolute": lambda m: moved(m, relative_path="/etc/passwd"),
    "windows": lambda m: moved(m, relative_path="..\\outside"),
    "itself": lambda m: moved(m, relative_path=".."),
    "no file": lambda m: moved(m, relative_path=""),
    "past the end": lambda m: moved(m, length=1 << 40),
    "negative": lambda m: moved(m, offset=-5),
    "no number": lambda m: moved(m, offset=True),
    "compressed": lambda m: moved(m, transform_descriptors=["zstd"]),
    "huge": huge,
    "half of a tensor": half,
    "two in one": shared,
    "a long list": lambda m: m.planner_data.update({"log.0.a": ("log", 1 << 40, "a")}),
    "a value in a value": lambda m: m.planner_data.update({"log.0.a": ("epoch", "a")}),
    "one place": lambda m: m.planner_data.update({"log.0.a": ("epoch",)}),
    "list and dict": lambda m: m.planner_data.update({"log.0.a": ("log", 0), "epoch": ("log", "b")}),
    "no place": lambda m: m.planner_data.update({"log.0.a": ()}),
    "no type": lambda m: setattr(entry(m).properties, "dtype", torch.Size([1])),
    "nothing stored": lambda m: m.storage_data.clear(),
    "no index": lambda m: vars(m).clear(),
    "a list of a value": lambda m: m.state_dict_metadata.update(w=[1]),
    "no chunk": lambda m: entry(m).chunks.clear(),
    "chunk twice": lambda m: entry(m).chunks.append(entry(m).chunks[0]),
    "another chunk": lambda m: entry(m).chunks.append(
        of_torch.ChunkStorageMetadata(torch.Size([1, 0]), torch.Size([1, 2]))
    ),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_what_an_index_cannot_mean_is_refused_in_one_line(folder, damage):
    (folder.parent / "outside").write_bytes(next(folder.glob("*.distcp")).read_bytes())
    rewritten(folder, DAMAGED[damage])
    with pytest.raises(InputError, match="damaged") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x80\x04.", b"junk", b"\x80\x02]q\x00h\x00a.", b"\x80\x04N."])
def test_bytes_that_are_no_index_are_refused_in_one_line(folder, data):
    (folder / ".metadata").write_bytes(data)
    for read in (load, contents):
        with pytest.raises(InputError, match="damaged") as caught:
            read(folder)
        assert "\n" not in str(caught.value)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(folder):
    file = next(folder.glob("*.distcp"))
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(InputError, match="is not in the folder"):
        load(folder)
