"""The Python blocks of the rule pages: which lines they mark, what they should become, and the layers they define."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from bnlint.finding import Finding, Severity
from bnlint.pages import Block, Page, load_pages

CHANNELS = 6
RIGHT = ("Good", "Fixed", "When it is right")
_MARKER = re.compile(r"  # (BN\d{3})$", re.MULTILINE)
_files = count()


@dataclass(frozen=True)
class Example:
    """A block and its place in its section; `fixed` is the code that a Bad block becomes."""

    page: Page
    block: Block
    number: int
    fixed: str = ""

    @property
    def code(self) -> str:
        """The code as a user has it, without the markers of the page."""
        return _MARKER.sub("", self.block.code)

    @property
    def marks(self) -> set[tuple[int, str]]:
        """Line and rule code of each marker."""
        lines = enumerate(self.block.code.splitlines(), 1)
        return {(number, match[1]) for number, line in lines if (match := _MARKER.search(line))}

    def __str__(self) -> str:
        return f"{self.page.code}-{self.block.section.split()[0]}-{self.number}"


def examples(*sections: str, family: str = "") -> Iterator[Example]:
    """Yield the blocks of some sections, of all pages or of those whose code starts with `family`."""
    for page in load_pages().values():
        if not page.code.startswith(family):
            continue
        fixed = [block.code for block in page.blocks if block.section == "Fixed"]
        for section in sections:
            blocks = [block for block in page.blocks if block.section == section]
            for number, block in enumerate(blocks):
                yield Example(page, block, number, fixed[number] if section == "Bad" else "")


def example(code: str, section: str, number: int) -> Example:
    """Return one block."""
    return next(e for e in examples(section) if e.page.code == code and e.number == number)


def layer_of(code: str, folder: Path) -> nn.Module:
    """Run code from a file of its own, and build the one layer that it defines, with parameters unlike the defaults."""
    file = folder / f"block_{next(_files)}.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = [value for value in vars(module).values() if inspect.isclass(value) and value.__module__ == file.stem]
    (cls,) = (value for value in values if issubclass(value, nn.Module))
    layer: nn.Module = cls(CHANNELS)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator))
    return layer


def batch(*shape: int) -> torch.Tensor:
    """A random float64 input of mean 1/2 and variance 4."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(shape or (4, CHANNELS, 4, 4), generator=generator, dtype=torch.float64) * 2 + 0.5


#: what pages about gradients need: torch warns of the very stops that they show, and an exchange needs a process group
ABOUT_GRADIENTS = [
    pytest.mark.filterwarnings(
        "ignore:To copy construct from a tensor",
        "ignore:Converting a tensor",
        "ignore:torch.distributed.nn.functional.all_reduce is deprecated",
        "ignore:c10d::allreduce_",
    ),
    pytest.mark.usefixtures("one_process"),
]
WITH_AND_WITHOUT_INPUT = pytest.mark.parametrize("inputs", [(), (batch().float(),)], ids=["alone", "on a batch"])


def marked(findings: list[Finding]) -> set[tuple[int, str]]:
    """Line and rule code of each finding."""
    return {(finding.location.line, finding.code) for finding in findings if finding.location}


def told(page: Page, findings: list[Finding]) -> list[Finding]:
    """The findings that a page has to answer for: not the notes of other rules about conventions of its examples."""
    return [f for f in findings if f.code == page.code or f.severity is not Severity.NOTE]


def input_gradient(layer: nn.Module, x: Tensor) -> Tensor:
    """The gradient of an input for a fixed random cotangent."""
    leaf = x.clone().requires_grad_()
    output = layer(leaf)
    cotangent = torch.randn(output.shape, generator=torch.Generator().manual_seed(5), dtype=output.dtype)
    (gradient,) = torch.autograd.grad(output, leaf, cotangent)
    return gradient


def distance(a: Tensor, b: Tensor) -> float:
    """How far `a` is from `b`, relative."""
    return float((a - b).norm() / b.norm())


def statistics(layer: nn.Module) -> dict[str, Tensor]:
    """The buffers but for the count of batches, which repaired layers always keep."""
    return {name: buffer for name, buffer in layer.named_buffers() if name != "num_batches_tracked"}


def has_a_safe_fix(bad: Example) -> bool:
    """Whether the page says so."""
    return section_of(bad.page, "Fix safety").strip().startswith("Safe:")


def section_of(page: Page, title: str) -> str:
    """Return the text under a heading of a page."""
    return re.split(r"^## ", page.text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
