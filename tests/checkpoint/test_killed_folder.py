"""`fix` of a folder is killed at any moment: the output is whole or absent, and the next run clears what is left."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from test_shards import factory

from bnlint.atomic import new_folder
from bnlint.checkpoint.formats import load
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust

pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(os.name != "posix", reason="there are no such locks and signals"),
]
ROOT = Path(__file__).parent.parent.parent
# Fills a folder slowly, and says when it begins.
SCRIPT = """
import sys, time
from pathlib import Path
from bnlint.atomic import new_folder
with new_folder(Path(sys.argv[1])) as folder:
    for number in range(20):
        print(number, flush=True)
        (folder / str(number)).write_bytes(bytes(1000))
        time.sleep(0.02)
print("done", flush=True)
"""


@contextlib.contextmanager
def filling(path):
    """Another process that fills a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert process.stdout.readline() == "0\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3, 0.45])
def test_what_a_killed_run_leaves_is_cleared_by_the_next(tmp_path, delay):
    with filling(tmp_path / "b") as process:
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
    if (tmp_path / "b").exists():
        assert len(names(tmp_path / "b")) == 20 and names(tmp_path) == {"b"}
    else:
        assert [name.startswith(".bnlint-") for name in names(tmp_path)] == [True]
    with new_folder(tmp_path / "c") as folder:
        (folder / "x").write_text("x")
    assert names(tmp_path) - {"b"} == {"c"}


def test_what_a_living_run_fills_is_left_alone(tmp_path):
    (tmp_path / ".bnlint-link.tmp").symlink_to(tmp_path)
    with filling(tmp_path / "b") as process:
        with new_folder(tmp_path / "c"):
            pass
        assert len(names(tmp_path)) == 3
        assert process.stdout.read().endswith("done\n") and process.wait() == 0
    assert len(names(tmp_path / "b")) == 20
    assert names(tmp_path) == {"b", "c", ".bnlint-link.tmp"}


def test_fix_of_a_folder_clears_them(tmp_path):
    dcp.save({"model": factory().state_dict()}, checkpoint_id=tmp_path / "a")
    with filling(tmp_path / "x") as process:
        process.kill()
    assert len(names(tmp_path)) == 2
    repair_checkpoint(tmp_path / "a", tmp_path / "b", Trust(), factory=factory)
    assert names(tmp_path) == {"a", "b"}
    ours, theirs = load(tmp_path / "b"), factory().state_dict()
    assert all(torch.equal(ours.read(ours.content["model"][key]), value) for key, value in theirs.items())
