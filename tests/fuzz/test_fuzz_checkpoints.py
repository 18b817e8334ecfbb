"""Damaged checkpoints: each is read, or refused in one line; nothing of them runs, and no other error comes out."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.compiled import load_compiled
from bnlint.checkpoint.contents import contents
from bnlint.checkpoint.formats import load
from bnlint.checkpoint.trust import Trust
from bnlint.errors import BnlintError, told

pytestmark = pytest.mark.filterwarnings("ignore")
TRUST = Trust({"HandNorm": HandNorm})
#: what only a program that runs would do
FORBIDDEN = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.remove",
    "shutil.rmtree",
    "socket.connect",
)
#: what stands in pickles, and in the JSON of safetensors
PIECES = [
    *(b"c", b"R", b".", b"(", b"t", b"}", b"]", b"q\x00"),
    *(b"h\x00", b"\x80\x02", b"\x93", b"\x81", b"b", b"Q", b"N", b"0"),
    *(b"cos\nsystem\n", b"cbuiltins\neval\n"),
    *(b"ctorch\nload\n", b"X\x04\x00\x00\x00true\x85R", b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f"),
    *(b"{", b'"', b":", b"[", b",", b"-1"),
    *(b"99999999999", b'"F32"', b'"F4"', b"null", b"\xff\xff\xff\xff", b"\x00" * 8),
]  # fmt: skip


def saved(value: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))), file)
    return file.getvalue()


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """Small files of each kind."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), HandNorm(2))
    state = model.state_dict()
    return {
        "model.pt": saved({"model": model, "epoch": 3, "rng": torch.get_rng_state()[:8]}),
        "state.pt": saved(state),
        "old.pt": saved(state, _use_new_zipfile_serialization=False),
        "protocol4.pt": saved({"a": [1, (2.5, None)], "s": {3}, "w": state["0.weight"].half()}, pickle_protocol=4),
        "state.safetensors": save({name: value.contiguous() for name, value in state.items()}, {"format": "pt"}),
        "script.pt": scripted(),
    }


#: what was done since the flag was set
DONE: list[str] = []
WATCHING = [False]


def _noted(event: str, _: tuple[object, ...]) -> None:
    if WATCHING[0] and event.startswith(FORBIDDEN):
        DONE.append(event)


@pytest.fixture(scope="module", autouse=True)
def watched() -> Iterator[None]:
    sys.addaudithook(_noted)  # it can never be taken away
    yield
    WATCHING[0] = False


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """A few changes of bytes: one replaced, some taken out or put in, the end cut off."""
    changes = draw(
        st.lists(
            st.tuples(st.floats(0, 1), st.integers(0, 12), st.one_of(st.binary(max_size=3), st.sampled_from(PIECES))),
            min_size=1,
            max_size=4,
        )
    )
    cut = draw(st.one_of(st.none(), st.none(), st.none(), st.floats(0, 1)))

    def damaged(content: bytes) -> bytes:
        for place, taken, put in changes:
            at = int(place * len(content))
            content = content[:at] + put + content[at + taken :]
        return content if cut is None else content[: int(cut * len(content))]

    return damaged


def read(path: Path) -> None:
    """Read a file in every way; whatever is wrong with it is one clear line."""
    for reader in (lambda: load(path, TRUST), lambda: contents(path), lambda: load_compiled(path, TRUST, "cpu")):
        WATCHING[0] = True
        try:
            reader()
        except BnlintError as error:
            assert all(line.isprintable() for line in told(error).split("\n"))
        finally:
            WATCHING[0] = False
    assert DONE == []


@tried(150)
@given(data=st.data(), damaged=damage())
def test_a_damaged_file_is_read_or_refused(
    whole: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    damaged: Callable[[bytes], bytes],
) -> None:
    name = data.draw(st.sampled_from(sorted(whole)))
    path = tmp_path_factory.getbasetemp() / f"damaged_{name}"
    path.write_bytes(damaged(whole[name]))
    read(path)


@tried(150)
@given(data=st.data(), damaged=damage())
def test_a_damaged_part_of_an_archive_is_read_or_refused(
    whole: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    damaged: Callable[[bytes], bytes],
) -> None:
    """With a checksum that is right, the damage reaches what reads the part: mostly the pickle."""
    name = data.draw(st.sampled_from([each for each in sorted(whole) if each.endswith(".pt") and each != "old.pt"]))
    path = tmp_path_factory.getbasetemp() / f"inside_{name}"
    with zipfile.ZipFile(io.BytesIO(whole[name])) as before, zipfile.ZipFile(path, "w") as after:
        parts = before.namelist()
        pickles = [each for each in parts if each.endswith(".pkl")]
        hit = data.draw(st.sampled_from([*pickles * 3, *parts]))
        for part in parts:
            after.writestr(part, damaged(before.read(part)) if part == hit else before.read(part))
    read(path)
