"""Reading models that torch compiled or exported: TorchScript archives and `.pt2` files."""

from __future__ import annotations

import re
import shlex
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

from bnlint.checkpoint.archive import opened, reading, require_whole
from bnlint.checkpoint.formats import Checkpoint
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.trust import Trust, printable
from bnlint.errors import InputError, UntrustedError

# Of the code in an archive: what runs while it is loaded; what touches files, under any name; operators that are not
# torch's own; and attributes taken by a name that is not written out plainly.
_DANGEROUS = re.compile(
    rb"__setstate__|(?:\btorch\.)?\b(?:save|load|from_file)\b"
    rb"|(?<![\w.])ops\b(?!\.(?:prim|aten|quantized)\.)(?:\.\w+)*"
    rb"|\bgetattr\b(?!\((?:getattr\()?\w+(?:\.\w+)*(?:, \"[^\"\\]*\"\)(?:\.\w+)*)?, \"[^\"\\]*\"\))"
)
_LARGEST = 64 << 20


def load_compiled(path: Path, trust: Trust | None = None, map_location: str = "cpu") -> Checkpoint | None:
    """Read a model that was compiled or exported, None where the file is neither.

    A TorchScript archive is run by torch's own interpreter, which knows tensors and nothing else; one whose code asks
    for more, and every exported program (parts of it are pickles), is loaded only with `trust.everything`.

    Raises:
        InputError: The file is damaged.
        UntrustedError: It could run something that nobody named; nothing in it was run.
    """
    trusted = trust is not None and trust.everything
    if not path.is_file():  # a pipe would never end
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.namelist()
    except Exception:  # damage anywhere in the directory shows as one of half a dozen errors
        return None  # `formats.load` says what is wrong with it
    names = [name.partition("/")[2] for name in listed]
    # What torch 2.6 exported is in no folder.
    exported = any(name.startswith("models/") for name in names) or "serialized_exported_program.json" in listed
    if "constants.pkl" not in names and not exported:
        return None
    require_whole(path)
    asked: list[str] = []
    if not trusted:
        asked = _asked(path) if "constants.pkl" in names else ["pickles that torch.export.load runs"]
    if asked:
        what = f"holds {', '.join(asked)}; nothing in it was run"
        hint = f"bnlint check {shlex.quote(str(path))} --trust   (only if you trust whoever made it)"
        raise UntrustedError(what, where=str(path), hint=hint)
    return Checkpoint(path, _loaded(path, map_location, script="constants.pkl" in names))


def _asked(path: Path) -> list[str]:
    asked: set[str] = set()
    with reading(path), bounded(path.stat().st_size):
        archive = opened(path)
        for name in archive.get_all_records():
            if name.lower().startswith("code/") and name.lower().endswith(".py"):  # torch finds it in any case
                code = archive.get_record(name)
                if len(code) > _LARGEST:
                    return ["code of an extraordinary size"]
                asked.update(printable(match.decode()) for match in _DANGEROUS.findall(code))
    return [f"code that uses {name}" for name in sorted(asked)]


def _loaded(path: Path, map_location: str, *, script: bool) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated: that is not what the user asked
            if script:
                model: nn.Module = torch.jit.load(str(path), map_location)  # type: ignore[no-untyped-call]
                return model
            return torch.export.load(str(path)).module().to(map_location)
    except Exception as error:  # a hostile or outdated file can fail in any way
        reason = printable(f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        raise InputError(f"cannot be loaded: {reason}", where=str(path)) from error
