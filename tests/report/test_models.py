from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from bnlint.finding import Finding, Harm, Measurement, ModuleLocation, Severity, SourceLocation
from bnlint.report.models import render

RESNET18 = [
    "bn1",
    *(f"layer{stage}.{block}.bn{n}" for stage in (1, 2, 3, 4) for block in (0, 1) for n in (1, 2)),
    *(f"layer{stage}.0.downsample.1" for stage in (2, 3, 4)),
]
PATH = "examples/silent_batchnorm/norm.py"


def found(
    module: str,
    statistic: str | None,
    line: int,
    error: float | None,
    *,
    class_name: str = "SilentBatchNorm2d",
    **facts,
) -> Finding:
    measured = None if error is None else Measurement(error, 1 - error)
    severity = facts.pop("severity", Severity.ERROR)
    at = SourceLocation(facts.pop("path", PATH), line, 9, line, 20)
    return Finding(
        facts.pop("code", "BN101"),
        "detached-statistic",
        severity,
        facts.pop("message", "a message"),
        at,
        module=ModuleLocation(module, class_name),
        statistic=statistic,
        stop="detach",
        measurement=measured,
    )


def shown(findings: list[Finding], width: int = 200, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    render(findings, Console(file=file, width=width))
    return raw.getvalue().decode(encoding)


def resnet18() -> list[Finding]:
    return [
        found(name, statistic, line, round(0.1 + index * 7 % 20 / 25, 3))
        for index, name in enumerate(RESNET18)
        for statistic, line in (("mean", 24), ("var", 27))
    ]


def rows(out: str) -> list[list[str]]:
    return [re.split(r" {2,}", line.strip()) for line in out.splitlines() if re.search(r"\d\.\d{3} +\S+$", line)]


def test_one_row_for_each_layer_with_the_most_harm_first() -> None:
    out = shown(resnet18())
    table = rows(out)
    assert sorted(row[0] for row in table) == sorted(RESNET18)
    errors = [float(row[-2]) for row in table]
    assert errors == sorted(errors, reverse=True)
    by_layer = {row[0]: row for row in table}
    assert by_layer["bn1"] == [
        "bn1",
        "SilentBatchNorm2d",
        "mean, var",
        "detach",
        f"{PATH}:24, 27",
        "0.100",
        "0.900",
    ]
    first, *_ = out.splitlines()
    assert first.startswith("error[BN101] detached-statistic: 20 layers train with a wrong gradient: ")
    assert "mean and var" in first
    assert "`bnlint rule BN101`" in out


def test_eighty_columns_lose_nothing() -> None:
    out = shown(resnet18(), width=80)
    assert max(cell_len(line) for line in out.splitlines()) <= 80
    assert "…" not in out
    assert sorted(row[0] for row in rows(out)) == sorted(RESNET18)
    assert f"the same for all: at {PATH}:24, 27" in out
    assert all(row[1:4] == ["SilentBatchNorm2d", "mean, var", "detach"] for row in rows(out))


@pytest.mark.parametrize("width", [60, 80])
def test_paths_that_differ_are_folded(width: int) -> None:
    paths = [f"packages/vision/normalization/{name}_batch_normalization.py" for name in ("first", "second")]
    findings = [
        found(f"backbone.stages.{i}.norm", "mean", 10, 0.5 + i / 10, path=path, class_name=f"Norm{i}")
        for i, path in enumerate(paths)
    ]
    out = shown(findings, width=width)
    assert max(cell_len(line) for line in out.splitlines()) <= width
    assert "…" not in out
    columns = [[match.start() for match in re.finditer(r"\S+(?: \S+)*", line)] for line in out.splitlines()]
    header = next(i for i, line in enumerate(out.splitlines()) if line.startswith("layer"))
    at = columns[header][out.splitlines()[header].split().index("at") - 1]
    end = columns[header][-2] - 1
    folded = "".join(line[at:end].strip() for line in out.splitlines()[header + 2 :])
    assert all(f"{path}:10" in folded for path in paths)


def test_sites_with_different_measurements_keep_their_rows() -> None:
    out = shown([found("", "mean", 3, 0.5), found("", "mean", 9, 0.75)])
    assert [(row[0], row[4]) for row in rows(out)] == [("(root)", f"{PATH}:9"), ("(root)", f"{PATH}:3")]


def test_one_layer_is_singular() -> None:
    assert "1 layer trains with a wrong gradient" in shown([found("bn", "mean", 3, 0.5)])


def test_unknown_statistic_and_missing_measurement() -> None:
    out = shown([found("a", None, 3, 0.5), found("b", "mean", 4, None)])
    assert rows(out)[0][2] == "?"
    assert re.search(r"^b .* -  +-$", out, re.MULTILINE)
    assert out.index("\na ") < out.index("\nb ")


def test_harm_that_is_not_a_number_comes_first() -> None:
    out = shown([found("a", "mean", 3, 0.5), found("b", "mean", 3, math.nan), found("c", "mean", 3, 1e7)])
    assert re.findall(r"^([abc]) ", out, re.MULTILINE) == ["b", "c", "a"]
    assert "1.0e+07" in out


def test_each_rule_has_its_table_and_a_note_is_not_called_wrong() -> None:
    note = found("c", "mean", 3, 0.5, code="BN109", severity=Severity.NOTE, message="stopped on purpose")
    first, second = shown([found("a", "mean", 3, 0.5), note]).split("note[BN109]")
    assert "1 layer trains" in first and "1 layer: stopped on purpose" in second
    assert "wrong gradient" not in second


def test_a_note_of_a_rule_is_in_no_table_of_its_errors() -> None:
    note = found("meant", "mean", 3, 0.5, severity=Severity.NOTE, message="stopped on purpose")
    first, second = shown([found("wrong", "mean", 3, 0.9), note]).split("note[BN101]")
    assert "1 layer trains with a wrong gradient" in first and "meant" not in first
    assert "stopped on purpose" in second


def test_hostile_names_do_not_steer_the_terminal_and_ascii_consoles_work() -> None:
    finding = found("平均\x1b[31m[bold]", "mean", 3, 0.5, class_name="Ключ")
    assert "\x1b" not in shown([finding])
    assert "[bold]" in shown([finding], encoding="ascii")


def test_no_findings_print_nothing() -> None:
    assert shown([]) == ""


def test_an_estimate_is_marked_as_one() -> None:
    exact = found("first", "mean", 3, 0.25)
    estimated = replace(exact, measurement=Measurement(0.5, 0.75, exact=False))
    assert "~0.5" in shown([estimated]) and "~0.75" in shown([estimated])
    assert "~" not in shown([exact])


def test_the_harm_of_the_training_step_has_its_columns_and_the_last_word_on_the_order() -> None:
    harms = {"a": Harm(0.1, 0.9), "b": Harm(0.7, 0.5), "c": None}
    findings = [
        replace(finding, measurement=replace(finding.measurement, harm=harms[name]))
        for name, error in (("a", 0.9), ("b", 0.3), ("c", 0.5))
        if (finding := found(name, "mean", 3, error)).measurement is not None
    ]
    out = shown(findings)
    assert re.search(r"^ +probe +probe +step +step\nlayer .* error +cosine +error +cosine$", out, re.MULTILINE)
    assert [row.split()[0] for row in re.findall(r"^[abc] .*", out, re.MULTILINE)] == ["b", "c", "a"]
    assert re.search(r"^b .*0\.300 +0\.700 +0\.700 +0\.500$", out, re.MULTILINE)
    assert re.search(r"^c .*0\.500 +0\.500 +- +-$", out, re.MULTILINE)
    assert "probe: the proof" in out and "step: the harm" in out
    assert "step" not in shown([found("a", "mean", 3, 0.5)])


def test_the_columns_of_the_step_do_not_break_a_terminal_of_eighty_columns() -> None:
    findings = [replace(f, measurement=replace(f.measurement, harm=Harm(0.5, 0.5))) for f in resnet18()]
    out = shown(findings, width=80)
    assert max(cell_len(line) for line in out.splitlines()) <= 80
    assert "…" not in out
