"""The Python blocks of the rule pages: which lines they mark, what they should become, and the layers they define."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from torch import nn

from bnlint.pages import Block, Page, load_pages

CHANNELS = 6
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


def examples(*sections: str) -> Iterator[Example]:
    """Yield the blocks of some sections, of all pages."""
    for page in load_pages().values():
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


def section_of(page: Page, title: str) -> str:
    """Return the text under a heading of a page."""
    return re.split(r"^## ", page.text.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
