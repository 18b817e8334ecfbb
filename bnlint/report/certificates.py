"""What became of a checkpoint: one row per repaired layer, and what the output needs in order to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bnlint.certificate import Certificate

#: relative changes of outputs below this are rounding
VISIBLE = 1e-6
_RECALIBRATED = "the running statistics of every batch normalization were recomputed"


def render(
    certificates: Sequence[Certificate],
    console: Console,
    *,
    path: Path,
    output: Path,
    needs: Sequence[str],
    recalibrated: bool = False,
    right: str = "every layer's gradient is right",
) -> None:
    """Print the certificates of a repaired checkpoint.

    Args:
        certificates: One per layer that was repaired.
        console: Where to print.
        path: The checkpoint that was read.
        output: The one that was written.
        needs: Modules outside torch, torchvision and timm that the output refers to.
        recalibrated: Whether running statistics were recomputed.
        right: What to say where there is nothing to repair.
    """
    written = f"{path} → {output}: written, read back and compared"
    if not certificates:
        then = f"\n{_RECALIBRATED}\n{written}" if recalibrated else ", nothing written"
        console.print(Text(f"{path}: {right}; nothing to repair{then}"))
        return
    became = print_table(certificates, console)
    for line in _conclusion(certificates, became, recalibrated):
        console.print(Text(line))
    console.print(Text(written))
    for line in _needed(certificates, needs):
        console.print(Text(line))


def print_table(certificates: Sequence[Certificate], console: Console) -> list[tuple[str, str]]:
    """Print a row for each certificate; return which classes became which."""
    became = sorted({(c.class_before, became_class(c)) for c in certificates})
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("layer", overflow="fold")
    if len(became) > 1:
        table.add_column("became", overflow="fold")
    for name in ("error before", "after", "outputs moved"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in certificates:
        row = [Text(c.module or "(the model)"), *([Text(became_class(c))] if len(became) > 1 else [])]
        after = c.gradient_error if c.numeric_error is None else max(c.gradient_error, c.numeric_error)
        numbers = (c.gradient_error_before, after, max(c.output_error, c.eval_error))
        table.add_row(*row, *(f"{number:.1e}" for number in numbers))
    console.print(table)
    return became


def became_class(certificate: Certificate) -> str:
    """Name the class that a layer became; whose it is, where both have one name."""
    after = certificate.class_after
    return f"torch.nn.{after}" if after == certificate.class_before and certificate.rung == "native" else after


def _conclusion(
    certificates: Sequence[Certificate],
    became: Sequence[tuple[str, str]],
    recalibrated: bool,
) -> Iterator[str]:
    count = f"{len(certificates)} layer{'s' * (len(certificates) != 1)}"
    change = ", ".join(f"{before} → {after}" for before, after in became)
    yield f"\nrepaired {count}: {change}"
    sizes = len(certificates[0].shapes)
    yield from certified(certificates)
    yield f"the errors are the largest on {sizes} sizes of input, and more than those of a check, which takes one"
    for title, names in (
        ("kept your convention", {name for c in certificates for name in c.kept}),
        ("took torch's convention instead", {name for c in certificates for name in c.adopted}),
    ):
        for name in sorted(names):
            yield f"{title}: the layer {name}"
    for c in certificates:
        if c.rung != "native":
            yield f"{c.module or c.class_before}: its own operations, without the stops ({c.reason})"
    yield from moved_outputs(certificates)
    stale = [c.module or c.class_before for c in certificates if c.stale]
    if recalibrated:
        yield _RECALIBRATED
    elif stale:
        yield f"running statistics that training never updated, and evaluation uses: {', '.join(stale)}"
    if not recalibrated and (stale or _moved(certificates) > VISIBLE):
        yield "recompute the running statistics before evaluation: --recalibrate data.pt, or MODULE:LOADER"


def _needed(certificates: Sequence[Certificate], needs: Sequence[str]) -> Iterator[str]:
    if "bnlint.layers" in needs:
        native = all(c.rung == "native" for c in certificates)
        yield f"loading it needs bnlint.layers{'; with --adopt-torch-conventions it would need torch alone' * native}"
    others = ["its script (__main__)" if name == "__main__" else name for name in needs if name != "bnlint.layers"]
    if others:
        yield f"loading it needs what the rest of the model needed: {', '.join(others)}"


def certified(certificates: Sequence[Certificate]) -> Iterator[str]:
    """Say what the gradients were held against."""
    numeric = [c.module or c.class_before for c in certificates if c.numeric_error is not None]
    where = f"in float64 on {certificates[0].device}"
    if numeric:
        yield f"certified {where} by finite differences alone, to 0.001: {', '.join(numeric)}"
    if len(numeric) < len(certificates):
        which = "the others are" if numeric else "each is"
        yield f"{which} certified {where}: the gradient equals the reference"


def moved_outputs(certificates: Sequence[Certificate]) -> Iterator[str]:
    """Say how far outputs moved, if they did."""
    if _moved(certificates) > VISIBLE:
        training = max(c.output_error for c in certificates)
        evaluation = max(c.eval_error for c in certificates)
        yield (
            f"outputs moved: in training by up to {training:.1%} on the smallest probe (about 1/(2n) for n values per "
            f"channel), in eval mode by up to {evaluation:.0%}"
        )


def _moved(certificates: Sequence[Certificate]) -> float:
    return max(max(c.output_error, c.eval_error) for c in certificates)
