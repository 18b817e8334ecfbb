"""What is said of a state dict: what changed in it, and what to do with the code."""

import io
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from bnlint.certificate import Certificate
from bnlint.report.state_dicts import Outcome, render

PROVED = Certificate("1", "Wide", "BatchNorm2d", "native", True, device="cpu", gradient_error_before=0.5)


def said(proved=PROVED, **changed):
    values = {"path": Path("a.pt"), "output": Path("b.pt"), "model": "m:make", "adopted": False, "written": True}
    values |= {"states": ["`model`"], "origins": [("Wide", "", 0)], "moved": []} | changed
    file = io.StringIO()
    render([proved], Console(file=file, width=200), Outcome(**values))
    return file.getvalue()


def test_a_file_that_needs_no_change():
    text = said()
    assert "no key and no shape changes in `model`" in text and "a.pt → b.pt: copied" in text
    assert "a.pt: left as it is" in said(written=False)
    assert "\n  Wide\nPut it right and load" in text


def test_tensors_that_moved_are_listed_and_the_code_that_they_fit():
    text = said(
        moved=[("1.gamma", (1, 4, 1, 1), "1.weight", (4,)), ("1.bias", (1, 4, 1, 1), "1.bias", (4,))], adopted=True
    )
    assert "  1.gamma (1, 4, 1, 1) → 1.weight (4)\n  1.bias (1, 4, 1, 1) → (4)\n" in text
    assert "a.pt → b.pt: written, read back and compared" in text
    assert "Put BatchNorm2d for Wide in the code and load b.pt" in text
    assert "bnlint.repair(model, adopt_torch_conventions=True)" in text


def test_the_files_of_the_classes_are_named():
    here = str(Path("pkg/norm.py").absolute())
    text = said(origins=[("Wide", here, 7), ("Thin", here, 9)])
    assert "  Wide  pkg/norm.py:7\n  Thin  pkg/norm.py:9\nPut it right (bnlint fix pkg/norm.py) and load b.pt" in text


def test_nobody_is_told_to_write_an_unstopped_layer_into_the_code():
    text = said(replace(PROVED, class_after="UnstoppedNorm", rung="unstop"), adopted=True)
    assert "in the code and load" not in text and "\nPut it right and load b.pt" in text
