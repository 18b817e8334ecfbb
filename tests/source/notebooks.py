"""Notebooks for tests: made by nbformat, and spelled in the many ways in which files in the wild are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import nbformat
from nbformat import v4

BAD = "def f(x):\n    return x - x.mean().detach()"
FIXED = "def f(x):\n    return x - x.mean()"


def notebook(*sources: str, **metadata: Any) -> dict[str, Any]:
    """A notebook of code cells as a document, each with an output and metadata; Markdown starts with `# `."""
    made = v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "é"}} | metadata)
    for source in sources:
        if source.startswith("# "):
            made.cells.append(v4.new_markdown_cell(source))
        else:
            output = v4.new_output("stream", text=source)
            made.cells.append(v4.new_code_cell(source, outputs=[output], metadata={"tags": ["é", "/"]}))
    document: dict[str, Any] = json.loads(v4.writes(made))
    return document


def written(*sources: str, **metadata: Any) -> bytes:
    """The bytes of a notebook as Jupyter writes them."""
    return Style().spelled(notebook(*sources, **metadata))


def sources(content: bytes) -> list[str]:
    """The sources of all cells as nbformat reads them; the notebook has to be valid."""
    read = nbformat.reads(content.decode("utf-8-sig"), as_version=nbformat.NO_CONVERT)
    nbformat.validate(read)
    cells = read.cells if "cells" in read else read.worksheets[0].cells
    return [cell.source if "source" in cell else cell.input for cell in cells]


@dataclass(frozen=True)
class Style:
    """How a document is spelled as a file."""

    indent: int | str | None = 1
    ensure_ascii: bool = False
    sort_keys: bool = True
    separators: tuple[str, str] | None = None
    newline: str = "\n"
    bom: bool = False
    end: str = "\n"

    def spelled(self, document: Any) -> bytes:
        text = json.dumps(
            document,
            indent=self.indent,
            ensure_ascii=self.ensure_ascii,
            sort_keys=self.sort_keys,
            separators=self.separators,
        )
        return (text + self.end).replace("\n", self.newline).encode("utf-8-sig" if self.bom else "utf-8")


STYLES = {
    "as Jupyter writes it": Style(),
    "compact": Style(indent=None, separators=(",", ":"), end=""),
    "in one line": Style(indent=None, sort_keys=False),
    "tabs, escapes": Style(indent="\t", ensure_ascii=True),
    "CRLF": Style(newline="\r\n", indent=4),
    "BOM": Style(bom=True, ensure_ascii=True, end="\n\n"),
}


def pieces(text: str, ends: Sequence[int]) -> Iterator[str]:
    """Cut a text at some offsets."""
    places = [0, *sorted(ends), len(text)]
    for start, end in pairwise(places):
        yield text[start:end]
