"""What takes the place of an output is on the disk before, in every format: after a power cut it is whole or absent."""

import os

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file
from test_shards import changed, training

from bnlint import atomic
from bnlint.checkpoint.formats import load, save

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def synced(monkeypatch):
    """The files that were synced, and how long each was then."""
    found = {}
    sync = os.fsync

    def told(descriptor):
        sync(descriptor)
        status = os.fstat(descriptor)
        found[status.st_ino] = status.st_size

    monkeypatch.setattr(os, "fsync", told)
    return found


def write_zip(path):
    torch.save(training(), path / "a")
    save(load(path / "a"), path / "b", verify=load)


def write_safetensors(path):
    save_file(training()["model"], path / "a")
    save(load(path / "a"), path / "b", verify=load)


def write_folder(path):
    dcp.save(training(), checkpoint_id=path / "a")
    changed(path / "a", path / "b")


@pytest.mark.parametrize("write", [write_zip, write_safetensors, write_folder])
def test_all_of_an_output_is_synced(tmp_path, synced, write):
    write(tmp_path)
    output = tmp_path / "b"
    for file in output.iterdir() if output.is_dir() else [output]:
        assert synced[file.stat().st_ino] == file.stat().st_size > 0, file


@pytest.mark.skipif(os.name != "posix", reason="there are no such locks")
@pytest.mark.parametrize("write", [torch.save, save_file])
def test_what_is_being_verified_is_no_leftover(tmp_path, write):
    """Another run that writes into the folder meanwhile leaves it alone."""
    write(training()["model"], tmp_path / "a")

    def meanwhile(path):
        atomic.write(tmp_path / "other", lambda file: file.write(b"x"))
        assert path.exists()

    save(load(tmp_path / "a"), tmp_path / "b", verify=meanwhile)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "other"}
    (tmp_path / "plain").touch()
    assert (tmp_path / "b").stat().st_mode == (tmp_path / "plain").stat().st_mode
