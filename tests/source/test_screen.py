"""The screens lose no finding: what is passed over holds none when everything is followed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from bnlint.finding import Finding
from bnlint.pages import load_pages
from bnlint.source import followed
from bnlint.source.outline import Outline, outline
from bnlint.source.screen import Screened, may_hold_findings, screen
from bnlint.source.taint import joining
from bnlint.source.text import SourceText, parsed

PARTS = ["timm/layers", "torchvision/ops", "torch/nn/modules", "torch/distributions", "torch/ao/quantization"]


def everything(sketch: Outline, *_: object) -> Screened:
    return Screened(sketch.units, frozenset(), frozenset(sketch.tops))


def found(source: bytes, path: str) -> set[tuple[str, int, int]]:
    checked = followed.followed(SourceText.decode(source), path, None)
    return {place(finding) for finding in checked.findings}


def place(finding: Finding) -> tuple[str, int, int]:
    where = finding.location
    return (finding.code, where.line, where.column) if where is not None else (finding.code, 0, 0)


@pytest.mark.parametrize("part", PARTS)
def test_installed_packages_with_and_without_the_screens(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package, _, folder = part.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    files = sorted((Path(spec.origin).parent / folder).glob("*.py"))[:70]
    screened = {path: found(path.read_bytes(), str(path)) for path in files}
    monkeypatch.setattr(followed, "screen", everything)
    whole = {path: found(path.read_bytes(), str(path)) for path in files}
    assert screened == whole


STATIC = sorted(page.code for page in load_pages().values() if "static" in page.engines and page.code != "BN001")


@pytest.mark.parametrize("code", STATIC)
def test_rule_pages_with_and_without_the_screens(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block.encode() for block in load_pages()[code].text.split("```python\n")[1:]]
    sources = [block.partition(b"```")[0] for block in blocks]
    screened = [found(source, "a.py") for source in sources]
    assert all(may_hold_findings(source) for source, each in zip(sources, screened, strict=True) if each)
    monkeypatch.setattr(followed, "screen", everything)
    assert screened == [found(source, "a.py") for source in sources]
    assert any(screened) or code in {"BN002", "BN401"}  # these need no flow


REDUCED = "{}\n\ndef f(x, shape):\n    n = {}(x, shape)\n    return x - n.detach()\n"


@pytest.mark.parametrize(
    ("imports", "called", "looked_at"),
    [
        ("import functools", "functools.reduce", False),
        ("from functools import reduce", "reduce", False),
        ("from functools import reduce as fold", "fold", False),
        ("from einops import reduce", "reduce", True),
        ("import einops", "einops.reduce", True),
        ("import einops\nfrom functools import reduce as fold", "einops.reduce", True),
    ],
)
def test_reduce_of_functools_takes_numbers(imports: str, called: str, looked_at: bool) -> None:
    assert bool(screen(outline(REDUCED.format(imports, called))).wanted) is looked_at


def test_what_reduce_of_functools_does_is_no_reason_to_follow_a_flow() -> None:
    text = "import functools\n\ndef f(x, size):\n    m = x.mean(0)\n    return m * functools.reduce(max, size)\n"
    assert joining(parsed(text), outline(text), {}) == frozenset()
    other = text.replace("functools", "distributed")
    assert joining(parsed(other), outline(other), {}) == {("f", "f")}
