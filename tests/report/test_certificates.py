from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from bnlint.certificate import Certificate
from bnlint.report.certificates import render

ROW = Certificate(
    "layer1.0.bn1",
    "MyNorm",
    "BatchNorm2d",
    "native",
    True,
    device="cpu",
    gradient_error=3e-16,
    gradient_error_before=0.6,
)


def printed(rows: list[Certificate], needs: tuple[str, ...] = (), width: int = 80) -> str:
    file = StringIO()
    render(rows, Console(file=file, width=width), path=Path("in.pt"), output=Path("out.pt"), needs=needs)
    return file.getvalue()


def test_every_layer_has_a_row_with_its_numbers() -> None:
    text = printed([ROW, replace(ROW, module="layer2.1.bn2", gradient_error_before=0.25)])
    (first,) = [line for line in text.splitlines() if "layer1.0.bn1" in line]
    (second,) = [line for line in text.splitlines() if "layer2.1.bn2" in line]
    assert "6.0e-01" in first
    assert "3.0e-16" in first
    assert "2.5e-01" in second


def test_a_class_of_the_same_name_as_torchs_is_told_apart() -> None:
    same = replace(ROW, class_before="BatchNorm2d")
    assert "repaired 1 layer: BatchNorm2d → torch.nn.BatchNorm2d\n" in printed([same])
    assert "repaired 1 layer: UnstoppedNorm → UnstoppedNorm\n" in printed(
        [replace(same, class_before="UnstoppedNorm", class_after="UnstoppedNorm", rung="unstop")]
    )


def test_layers_that_became_different_classes_say_which() -> None:
    text = printed([ROW, replace(ROW, module="head", class_after="BatchNorm1d")])
    (head,) = [line for line in text.splitlines() if line.startswith("head")]
    assert "BatchNorm1d" in head


def test_what_was_kept_and_what_moved_is_told() -> None:
    kept = printed([replace(ROW, kept=("normalizes by the unbiased variance",))], needs=("bnlint.layers",))
    assert "kept your convention: the layer normalizes by the unbiased variance" in kept
    assert "needs bnlint.layers" in kept
    adopted = replace(ROW, adopted=("normalizes by the unbiased variance",), output_error=0.0625, eval_error=0.5)
    moved = printed([adopted, replace(adopted, output_error=0.01)], width=200)
    assert "training by up to 6.2%" in moved
    assert "eval mode by up to 50%" in moved
    assert "--recalibrate" in moved
    assert "bnlint.layers" not in moved


def test_stale_running_statistics_are_named_and_what_to_do_about_them() -> None:
    text = printed([ROW, replace(ROW, module="head", stale=True)], width=200)
    assert "training never updated, and evaluation uses: head\n" in text
    assert "recompute the running statistics before evaluation: --recalibrate" in text
    assert "never updated" not in printed([ROW])


def test_a_step_down_is_told_with_its_reason() -> None:
    unstopped = replace(ROW, class_after="UnstoppedNorm", rung="unstop", reason="it does more: `relu`")
    text = printed([unstopped], needs=("bnlint.layers",), width=200)
    assert "layer1.0.bn1: its own operations, without the stops (it does more: `relu`)" in text
    assert "--adopt-torch-conventions" not in text


def test_nothing_to_repair_is_said() -> None:
    assert "nothing to repair" in printed([])


def test_the_root_has_a_name() -> None:
    assert "(the model)" in printed([replace(ROW, module="")])
