"""What became of a checkpoint: one row per repaired layer, and what the output needs in order to load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Proved(Protocol):
    """What is told of a certificate."""

    @property
    def module(self) -> str: ...
    @property
    def class_before(self) -> str: ...
    @property
    def class_after(self) -> str: ...
    @property
    def kept(self) -> tuple[str, ...]: ...
    @property
    def adopted(self) -> tuple[str, ...]: ...
    @property
    def device(self) -> str: ...
    @property
    def output_error(self) -> float: ...
    @property
    def eval_error(self) -> float: ...
    @property
    def gradient_error(self) -> float: ...
    @property
    def gradient_error_before(self) -> float: ...


def render(certificates: Sequence[Proved], console: Console, *, path: Path, output: Path, needs: Sequence[str]) -> None:
    """Print the certificates of a repaired checkpoint.

    Args:
        certificates: One per layer that was repaired.
        console: Where to print.
        path: The checkpoint that was read.
        output: The one that was written.
        needs: Modules outside torch, torchvision and timm that the output refers to.
    """
    if not certificates:
        console.print(Text(f"{path}: every layer's gradient is right; nothing to repair, nothing written"))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name, justify in (("layer", "left"), ("became", "left"), ("gradient before", "right"),
                          ("after", "right"), ("outputs moved", "right")):  # fmt: skip
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=True)
    for c in certificates:
        moved = max(c.output_error, c.eval_error)
        table.add_row(
            Text(c.module or "(the model)"),
            Text(c.class_after),
            f"{c.gradient_error_before:.2g} off",
            f"{c.gradient_error:.0e}",
            f"{moved:.0e}",
        )
    console.print(table)
    count = f"{len(certificates)} layer{'s' * (len(certificates) != 1)}"
    console.print(Text(f"repaired and certified {count} in float64 on {certificates[0].device}: {path} → {output}"))
    for title, names in (("kept", {n for c in certificates for n in c.kept}),
                         ("given up for torch's convention", {n for c in certificates for n in c.adopted})):  # fmt: skip
        for name in sorted(names):
            console.print(Text(f"  {title}: the layer {name}"))
    if any(c.adopted for c in certificates):
        largest = max(c.output_error for c in certificates)
        console.print(
            Text(
                f"  outputs in training moved by up to {largest:.1g} on the smallest probe (about 1/(2n), n values "
                "per channel); running statistics that were never updated must be recomputed before evaluation: "
                "torch.optim.swa_utils.update_bn(loader, model)"
            )
        )
    if needs:
        console.print(
            Text(
                f"  to load it, these must be importable: {', '.join(needs)}"
                + ("; --adopt-torch-conventions gives plain torch layers" if "bnlint.layers" in needs else "")
            )
        )
