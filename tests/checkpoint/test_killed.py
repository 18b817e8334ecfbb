"""`fix` is killed at any moment: the input stays what it was, the output is whole or absent."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.formats import load
from bnlint.checkpoint.trust import Trust

ROOT = Path(__file__).parent.parent.parent
VARIANTS = ROOT / "tests" / "repairs" / "variants.py"
# Repairs each pair of files that it is told in a process of its own, which says when it begins to write.
SCRIPT = f"""
import os, sys, time, warnings
sys.path.insert(0, {str(VARIANTS.parent)!r})
warnings.simplefilter("ignore")
import torch
from pathlib import Path
from variants import HandNorm
from bnlint.checkpoint import repair
from bnlint.checkpoint.trust import Trust
torch.set_num_threads(1)
save, same = repair.save, repair.require_same
def told(*args, **kwargs):
    print(os.getpid(), flush=True)
    save(*args, **kwargs)
def slow(*args):
    time.sleep(0.05)  # to be met between writing and renaming as well
    same(*args)
repair.save, repair.require_same = told, slow
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        path, output = map(Path, line.split())
        repair.repair_checkpoint(path, output, Trust({{"HandNorm": HandNorm}}))
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    torch.save({"model": nn.Sequential(HandNorm(3)), "w": torch.randn(8_000_000)}, folder / "a.pt")
    return folder


@pytest.fixture(scope="module")
def server():
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    yield process
    process.communicate()


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2])
@pytest.mark.parametrize("in_place", [False, True], ids=["-o", "--in-place"])
def test_the_input_is_intact_and_the_output_whole_or_absent(made, server, tmp_path, delay, in_place):
    path = tmp_path / "a.pt"
    os.link(made / "a.pt", path)
    output = path if in_place else tmp_path / "b.pt"
    before = torch.load(path, weights_only=False)
    server.stdin.write(f"{path} {output}\n")
    server.stdin.flush()
    pid = int(server.stdout.readline())
    time.sleep(delay)
    with contextlib.suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, signal.SIGKILL)

    for file in (made / "a.pt", path, output):
        if file.exists():
            found = load(file, Trust({"HandNorm": HandNorm}, ("bnlint.layers",)))
            assert torch.equal(found.content["w"], before["w"])
            assert file is output or in_place or type(found.content["model"][0]) is HandNorm
    left = {file.name for file in tmp_path.iterdir()} - {"a.pt", "b.pt"}
    assert all(name.startswith(".bnlint-") for name in left)
