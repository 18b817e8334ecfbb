"""Code that nobody here wrote: the findings in installed packages are those that somebody read and judged."""

from __future__ import annotations

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("corpus", Path(__file__).parents[2] / "benchmarks" / "corpus.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # The dataclasses of the script look their own module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


corpus = _script()
TABLE = corpus.rows()
VERSIONS = {package.name: package for package in corpus.packages()}
# All of torch takes minutes; these are the parts that hold layers and formulas.
PARTS = {
    "torch": ("nn", "_decomp", "optim"),
    "torchvision": ("models", "ops"),
    "timm": ("layers", "optim"),
}


@pytest.mark.parametrize(("name", "part"), [(name, part) for name, parts in PARTS.items() for part in parts])
def test_the_findings_are_those_of_the_table(name: str, part: str) -> None:
    package = VERSIONS[name]
    site = corpus.installed(package)
    if site is None:
        pytest.skip(f"{name} {package.version} is not installed")
    inside = f"{name}/{part}/" if part else f"{name}/"
    expected = {(row.place, row.severity) for row in TABLE if row.path.startswith(inside) and row.package == name}
    found = corpus.check(package, site, [site / name / part])
    assert {(row.place, row.severity) for row in found} == expected


def test_every_finding_was_read() -> None:
    assert [row for row in TABLE if row.verdict not in corpus.VERDICTS or not row.reason] == []


def test_no_finding_stands_twice() -> None:
    assert [place for place, count in Counter(row.place for row in TABLE).items() if count > 1] == []


def test_every_row_is_of_a_listed_package() -> None:
    assert {(row.package, row.version) for row in TABLE} <= {(p.name, p.version) for p in VERSIONS.values()}


def test_precision() -> None:
    loud = [row for row in corpus.gradients(TABLE) if row.severity != "note"]
    assert sum(row.right for row in loud) > 0.95 * len(loud)


def test_a_loud_finding_about_what_is_meant_is_not_right() -> None:
    row = corpus.Row("p", "1", "p/a.py", 1, "BN101", "mean", "error", "meant", "says so")
    assert not row.right
    assert corpus.replace(row, severity="note").right
    assert corpus.replace(row, verdict="true").right
    assert not corpus.replace(row, severity="note", verdict="false").right
