"""The analysis behind the language server, without its protocol."""

from __future__ import annotations

from pathlib import Path

from bnlint.server.analysis import Analysis
from bnlint.server.documents import Desk, Document

LAYER = """import torch


class Norm(torch.nn.Module):
    def forward(self, x):
        with torch.no_grad():
            m = x.mean(-1, keepdim=True)
            s = x.std(-1, keepdim=True)
        return (x - m) / (s + 1e-6)
"""
MODEL = """import torch
from vendored.layer import Norm


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = Norm()
        self.head = torch.nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.norm(x))
"""


def test_an_excluded_file_says_nothing_by_way_of_one_that_uses_it(tmp_path: Path) -> None:
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "layer.py").write_text(LAYER, encoding="utf-8")
    model = Document("file:///model.py", tmp_path / "model.py", 1, MODEL)
    desk = Desk({model.path: model})
    assert {finding.code for finding in Analysis([tmp_path]).check(model, desk).findings} >= {"BN102"}
    (tmp_path / "bnlint.toml").write_text('exclude = ["vendored/"]\n', encoding="utf-8")
    assert Analysis([tmp_path]).check(model, desk).findings == ()
