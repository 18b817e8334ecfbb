"""What the arguments of a command name: source paths, checkpoint files, factories of live models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bnlint import paths
from bnlint.errors import UsageError

#: endings of files that hold models
CHECKPOINTS = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors", ".pt2"})
#: what a folder of torch.distributed.checkpoint holds
_SHARDED = ".metadata"
_FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class Targets:
    """The arguments of a command, by kind."""

    sources: tuple[Path, ...] = ()
    checkpoints: tuple[Path, ...] = ()
    factories: tuple[str, ...] = ()
    stdin: bool = False

    @property
    def models(self) -> bool:
        """Whether torch is needed."""
        return bool(self.checkpoints or self.factories)


def sort_targets(arguments: Sequence[str]) -> Targets:
    """Sort arguments into kinds.

    A path that exists is a path; else `pkg.mod:factory` is a factory. No argument at all is the current folder, and
    `-` is the source text on stdin.

    Raises:
        UsageError: `-` stands beside other arguments.
    """
    if "-" in arguments:
        if len(arguments) > 1:
            raise UsageError("`-` is one source text on stdin, and stands alone", where="-")
        return Targets(stdin=True)
    sources: list[Path] = []
    checkpoints: list[Path] = []
    factories: list[str] = []
    for argument in arguments or (".",):
        if not argument:
            raise UsageError("an empty argument names no file", hint="leave it out to check the current folder")
        path = Path(argument)
        if not paths.exists(path) and _FACTORY.fullmatch(argument):
            factories.append(argument)
        elif (path.suffix.lower() in CHECKPOINTS and not paths.is_folder(path)) or paths.is_file(path / _SHARDED):
            checkpoints.append(path)
        else:
            sources.append(path)
    return Targets(tuple(sources), tuple(checkpoints), tuple(factories))
