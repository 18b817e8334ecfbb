"""Repair a large checkpoint with few wrong layers, beside `torch.load(mmap=True)` and `torch.save` of the same file.

    python benchmarks/large.py [GIGABYTES]

Makes the file in a temporary folder (twice its size is needed there), runs each side in a process of its own, and
prints wall time and peak memory: `own` is what the process itself occupies, `mapped` counts the pages of the file too.
The page cache is warm on both sides. The folder is removed in the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LAYERS = """
import torch
from torch import nn


class HandNorm(nn.BatchNorm2d):
    def forward(self, x):
        mean = x.mean((0, 2, 3), keepdim=True).detach()
        var = x.var((0, 2, 3), keepdim=True, unbiased=False).detach()
        wide = (1, -1, 1, 1)
        return (x - mean) / (var + self.eps).sqrt() * self.weight.view(wide) + self.bias.view(wide)


def save(gigabytes, path):
    rows = 1 << 13
    parts = []
    for _ in range(int(gigabytes * 1e9 / (rows * rows * 4))):
        parts.append(nn.Linear(rows, rows, bias=False))
    parts[1:1] = [HandNorm(64), HandNorm(64), HandNorm(64)]
    torch.save({"model": nn.Sequential(*parts), "epoch": 3}, path)
"""
BASELINE = "import sys, torch; torch.save(torch.load(sys.argv[1], mmap=True, weights_only=False), sys.argv[2])"


def measured(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Return seconds, and the peaks of the process's own and of all its memory in GB."""
    start, own, whole = time.perf_counter(), 0, 0
    process = subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path[1:]])}
    )
    while process.poll() is None:
        try:
            status = dict(line.split(":", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
            own = max(own, int(status["RssAnon"].split()[0]))
            whole = max(whole, int(status["VmHWM"].split()[0]))
        except (OSError, KeyError):
            pass
        time.sleep(0.01)
    if process.returncode:
        raise SystemExit(f"{command} exits {process.returncode}")
    return time.perf_counter() - start, own / 1e6, whole / 1e6


def main() -> None:
    gigabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    sys.path.insert(1, str(Path(__file__).parent.parent))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "norms.py").write_text(LAYERS)
        subprocess.run([sys.executable, "-c", f"import norms; norms.save({gigabytes}, 'a.pt')"], cwd=folder, check=True)
        size = (folder / "a.pt").stat().st_size / 1e9
        sides = {
            "torch.load(mmap) + torch.save": [sys.executable, "-c", BASELINE, "a.pt", "b.pt"],
            "bnlint fix": [sys.executable, "-m", "bnlint", "fix", "a.pt", "--code", "norms.py", "-o", "b.pt", "-q"],
        }
        print(f"{size:.2f} GB\n{'':30}{'seconds':>9}{'own GB':>9}{'mapped GB':>11}")
        for side, command in sides.items():
            seconds, own, whole = measured(command, folder)
            print(f"{side:30}{seconds:9.1f}{own:9.2f}{whole:11.2f}")
            (folder / "b.pt").unlink()


if __name__ == "__main__":
    main()
