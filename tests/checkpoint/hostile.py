"""Files that must not be believed: pickles that run something, and files that are no checkpoint."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import torch
from torch import fx, nn


class Call:
    """Pickles as a call of any function."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def marked(marker: Path) -> Call:
    return Call(os.system, f"touch {marker}")


def _layer_with_payload(marker: Path) -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.__dict__["payload"] = marked(marker)
    return layer


def _hooked(marker: Path) -> nn.Module:
    layer = nn.Linear(2, 2)
    layer.__dict__["forward"] = Call(builtins.eval, f"lambda *a: open({str(marker)!r}, 'w')")
    return layer


def _graph_module(marker: Path) -> nn.Module:
    module = fx.symbolic_trace(nn.Sequential(nn.ReLU()))
    module._code = f"\nopen({str(marker)!r}, 'w')\n" + module.code
    return module


def _saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


ATTACKS = {
    "os.system": marked,
    "nested": lambda marker: {"epoch": 3, "state": [{"optimizer": (1, marked(marker))}]},
    "eval": lambda marker: Call(builtins.eval, f"open({str(marker)!r}, 'w')"),
    "exec": lambda marker: Call(builtins.exec, f"open({str(marker)!r}, 'w')"),
    "getattr": lambda marker: Call(getattr, Path, "touch"),
    "open": lambda marker: Call(open, str(marker), "w"),
    "popen": lambda marker: Call(subprocess.Popen, ["touch", str(marker)]),
    "setstate": _layer_with_payload,
    "forward": _hooked,
    "graph_module": _graph_module,
    "load_from_bytes": lambda marker: Call(torch.storage._load_from_bytes, _saved(marked(marker))),
}


def write_attack(path: Path, attack: str, marker: Path, protocol: int = 2) -> None:
    torch.save(ATTACKS[attack](marker), path, pickle_protocol=protocol)


def write_program(path: Path, program: bytes) -> None:
    """Write an archive as torch.save does, with a pickle program of one's own."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def write_bad(folder: Path) -> dict[str, Path]:
    """Write one file of each kind that is no readable checkpoint."""
    whole = folder / "whole.pt"
    torch.save({"weight": torch.zeros(400)}, whole)
    kinds = ["truncated", "empty", "text", "lfs", "safetensors", "plain", "old", "zip", "torchscript", "junk", "folder"]
    bad = {kind: folder / f"{kind}.pt" for kind in (*kinds, "missing")}
    bad["truncated"].write_bytes(whole.read_bytes()[:-300])
    bad["empty"].touch()
    bad["text"].write_text("epoch,loss\n1,0.5\n")
    bad["lfs"].write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    bad["safetensors"].write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    bad["plain"].write_bytes(pickle.dumps({"a": 1}))
    torch.save(nn.Linear(2, 2), bad["old"], _use_new_zipfile_serialization=False)
    with zipfile.ZipFile(bad["zip"], "w") as archive:
        archive.writestr("a.txt", "a")
    with zipfile.ZipFile(bad["torchscript"], "w") as archive:
        archive.writestr("m/data.pkl", b"")
        archive.writestr("m/constants.pkl", b"")
    bad["junk"].write_bytes(bytes(range(1, 256)))
    bad["folder"].mkdir()
    return bad
