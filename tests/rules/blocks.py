"""The Python blocks of the rule pages: where they stand, which lines they mark, and the layers they define."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bnlint.pages import Block, load_pages

CHANNELS = 6
_MARKER = re.compile(r"  # (BN\d{3})$", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """A block: `bad` ones have markers, and `fixed` is the block that stands for it under Fixed."""

    page: str
    block: Block
    fixed: str = ""

    @property
    def text(self) -> str:
        """The code without the markers of the page."""
        return _MARKER.sub("", self.block.code)

    @property
    def marks(self) -> list[tuple[int, str]]:
        """Line and rule code of each marker."""
        lines = enumerate(self.block.code.splitlines(), 1)
        return [(number, match[1]) for number, line in lines if (match := _MARKER.search(line))]

    def layer(self, folder: Path) -> nn.Module:
        """Run the code from a real file, and build its one layer."""
        file = folder / "block.py"
        file.write_text(self.text, encoding="utf-8")
        return layer_of(file)

    def __str__(self) -> str:
        return f"{self.page}:{self.block.line}"


def codes(*sections: str, pages: tuple[str, ...] = ()) -> Iterator[Code]:
    """Yield the blocks of some sections, of all pages or of those named."""
    for code, page in load_pages().items():
        fixed = [block.code for block in page.blocks if block.section == "Fixed"]
        for section in sections if not pages or code in pages else ():
            for number, block in enumerate(block for block in page.blocks if block.section == section):
                yield Code(code, block, fixed[number] if section == "Bad" else "")


def layer_of(file: Path) -> nn.Module:
    """Import a file and build the one `nn.Module` that it defines, with parameters far from their defaults."""
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (cls,) = (
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, nn.Module) and value.__module__ == spec.name
    )
    layer = cls(CHANNELS)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.rand(parameter.shape, generator=generator))
    return layer


def batch(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A random input of mean 1/2 and variance 4."""
    generator = torch.Generator().manual_seed(11)
    return torch.randn(shape or (4, CHANNELS, 4, 4), generator=generator, dtype=dtype) * 2 + 0.5
