"""What is inside a checkpoint, as a table of its parts or as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

_ASK = "loaded only if --code or --allow names it"


def render_json(parts: Any, path: str) -> str:
    """Return the parts of a checkpoint as JSON."""
    document = {
        "path": path,
        "format": parts.format,
        "size": parts.size,
        "modules": [{"path": place, "class": name} for place, name in parts.modules],
        "tensors": [
            {"path": t.place, "dtype": t.dtype, "shape": list(t.shape), "device": t.device} for t in parts.tensors
        ],
        "values": [{"path": place, "value": text} for place, text in parts.values],
        "globals": [{"name": name, "standing": standing} for name, standing in parts.globals],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def render(parts: Any, path: str, console: Console) -> None:
    """Print the parts of a checkpoint."""
    numbers = sum(math.prod(tensor.shape) for tensor in parts.tensors)
    counts = [_count(len(parts.modules), "module"), _count(len(parts.tensors), "tensor")]
    console.print(Text(f"{path}: {parts.format}, {parts.size:,} bytes, {', '.join(counts)} of {numbers:,} numbers"))
    console.print(Text("read without running anything of it"))
    _table(console, ("module", "class"), parts.modules)
    tensors = [
        (t.place, t.dtype, "x".join(map(str, t.shape)) or "()", "" if t.device == "cpu" else t.device)
        for t in parts.tensors
    ]
    _table(console, ("tensor", "dtype", "shape", ""), tensors)
    _table(console, ("value", ""), parts.values)
    asked = [(name, how) for name, how in parts.globals if how != "known"]
    _table(console, ("global", ""), [(name, _ASK if how == "ask" else f"refused: {how}") for name, how in asked])
    if parts.format == "legacy":
        console.print("\nof a format whose globals torch cannot list: it loads only with --trust")
    elif not asked:
        harmless = "every global in it is known to be harmless" if parts.globals else "it names no global"
        console.print(f"\n{harmless}: it loads without --code, --allow or --trust")


def _count(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _table(console: Console, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell or "(the whole file)" if at == 0 else cell) for at, cell in enumerate(row)))
    console.print()
    console.print(table)
