"""A model of tokens on the command line: its layer norms are repaired to a file that torch alone can load."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

# Run as a script, so that its classes are pickled as __main__.Name.
TRAINING = """
import torch
from torch import nn


class DetachedLayerNorm(nn.Module):
    def __init__(self, width, eps=1e-5):
        super().__init__()
        self.weight, self.bias, self.eps = nn.Parameter(torch.rand(width)), nn.Parameter(torch.rand(width)), eps

    def forward(self, x):
        mean = x.mean(-1, keepdim=True).detach()
        var = x.var(-1, keepdim=True, unbiased=False).detach()
        return (x - mean) / torch.sqrt(var + self.eps) * self.weight + self.bias


class DetachedRMSNorm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width))

    def forward(self, x):
        with torch.no_grad():
            scale = torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * (x.float() * scale).type_as(x)


if __name__ == "__main__":
    torch.manual_seed(0)
    block = nn.Sequential(DetachedLayerNorm(16), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16), DetachedRMSNorm(16))
    model = nn.Sequential(nn.Embedding(50, 16), block, nn.Linear(16, 50))
    tokens = torch.arange(12).reshape(2, 6)
    torch.save(model, "model.pt")
    torch.save((tokens, model(tokens).detach(), model.state_dict()), "before.pt")
"""
LOADING = """
import sys

sys.modules["bnlint"] = None
import torch

model = torch.load("repaired.pt", weights_only=False)
tokens, output, state = torch.load("before.pt", weights_only=False)
torch.testing.assert_close(model(tokens), output)
assert list(model.state_dict()) == list(state)
assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
print(type(model[1][0]), type(model[1][4]))
"""


def run(*arguments, cwd):
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_a_transformer_is_repaired_to_a_file_that_needs_torch_alone(tmp_path):
    (tmp_path / "train.py").write_text(TRAINING)
    run("train.py", cwd=tmp_path)

    options = ["--code", "train.py", "-o", "repaired.pt", "--certificate", "proof.json"]
    run("-m", "bnlint", "fix", "model.pt", *options, cwd=tmp_path)

    certificates = json.loads((tmp_path / "proof.json").read_text())["layers"]
    assert [(c["module"], c["accepted"], c["class_after"]) for c in certificates] == [
        ("1.0", True, "LayerNorm"),
        ("1.4", True, "RMSNorm"),
    ]
    assert all(c["gradient_error"] < 1e-9 < 1e-2 < c["gradient_error_before"] for c in certificates)
    classes = run("-c", LOADING, cwd=tmp_path)
    assert "torch.nn.modules.normalization.LayerNorm" in classes
    assert "torch.nn.modules.normalization.RMSNorm" in classes
    assert run("-m", "bnlint", "check", "repaired.pt", cwd=tmp_path) == ""
