"""The analysis behind the language server, without its protocol."""

from __future__ import annotations

from pathlib import Path

from used import LAYER, MODEL

from bnlint.server.analysis import Analysis
from bnlint.server.documents import Desk, Document


def test_an_excluded_file_says_nothing_by_way_of_one_that_uses_it(tmp_path: Path) -> None:
    (tmp_path / "vendored").mkdir()
    (tmp_path / "vendored" / "layer.py").write_text(LAYER, encoding="utf-8")
    model = Document("file:///model.py", tmp_path / "model.py", 1, MODEL.format("vendored.layer"))
    desk = Desk({model.path: model})
    assert {finding.code for finding in Analysis([tmp_path]).check(model, desk).findings} >= {"BN102"}
    (tmp_path / "bnlint.toml").write_text('exclude = ["vendored/"]\n', encoding="utf-8")
    assert Analysis([tmp_path]).check(model, desk).findings == ()
