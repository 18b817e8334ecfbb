"""What became of a file that holds a state dict and no layers: what to do with it, and with the code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bnlint.certificate import Certificate
from bnlint.report.certificates import certified, moved_outputs, print_table


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to the file.

    Attributes:
        path: The file that was read.
        output: Where to write.
        model: The factory, as the user named it.
        adopted: Whether torch's conventions were taken.
        written: Whether the output was written.
        states: The state dicts of the model, in words.
        origins: Name, file and line of each class whose gradient is wrong.
        moved: Key and shape of each tensor that changed, before and after.
    """

    path: Path
    output: Path
    model: str
    adopted: bool
    written: bool
    states: Sequence[str]
    origins: Sequence[tuple[str, str, int]]
    moved: Sequence[tuple[str, tuple[int, ...], str, tuple[int, ...]]]


def render(certificates: Sequence[Certificate], console: Console, outcome: Outcome) -> None:
    """Print the certificates of a state dict's model, and what to do next."""
    became = print_table(certificates, console)
    for line in _lines(certificates, became, outcome):
        console.print(Text(line))


def _lines(certificates: Sequence[Certificate], became: Sequence[tuple[str, str]], told: Outcome) -> Iterator[str]:
    count = f"{len(certificates)} layer{'s' * (len(certificates) != 1)}"
    change = ", ".join(f"{before} → {after}" for before, after in became)
    yield f"\nrepaired {count} of the model: {change}"
    yield from certified(certificates)
    yield from moved_outputs(certificates)
    if told.moved:
        yield f"what changes in {', '.join(told.states)}, and in the optimizer states beside:"
        for key, shape, new_key, new_shape in told.moved:
            yield f"  {key} {_shape(shape)} → {f'{new_key} ' * (new_key != key)}{_shape(new_shape)}"
        yield f"{told.path} → {told.output}: written, read back and compared"
    else:
        states = ", ".join(told.states)
        yield f"no key and no shape changes in {states}: the repaired model takes the values as they are"
        yield f"{told.path} → {told.output}: copied" if told.written else f"{told.path}: left as it is"
    yield f"\nThe wrong gradient is not in {told.output.name}, which holds no layers, but in the code:"
    for name, file, line in told.origins:
        yield f"  {name}" + (f"  {_relative(file)}:{line}" if file else "")
    yield from _next(became, told)


def _next(became: Sequence[tuple[str, str]], told: Outcome) -> Iterator[str]:
    named = [_relative(file.partition(":cell ")[0]) for _, file, _ in told.origins if file]
    files = " ".join(dict.fromkeys(file for file in named if file.endswith((".py", ".ipynb"))))
    option = "adopt_torch_conventions=True" * told.adopted
    if told.adopted and all(after != "UnstoppedNorm" for _, after in became):
        changes = ", ".join(f"{after} for {before}" for before, after in became)
        yield f"Put {changes} in the code and load {told.output.name}."
    elif files:
        yield f"Put it right (bnlint fix {files}) and load {told.output.name} as before."
    else:
        yield f"Put it right and load {told.output.name} as before."
    yield "Or keep the code, and repair each model that it builds:"
    call = f"{told.model.rpartition(':')[2]}()"
    yield f"  model = {call}; bnlint.repair(model{', ' * bool(option)}{option}); model.load_state_dict(...)"


def _shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _relative(file: str) -> str:
    relative = os.path.relpath(file)
    return file if relative.startswith("..") else relative
