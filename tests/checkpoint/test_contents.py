"""What is inside a file, told without running or importing anything of it."""

import json
import os
import pickle
import pickletools
import sys

import pytest
import torch
from hostile import ATTACKS, Call, write_attack, write_bad, write_program
from safetensors.torch import save_file
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.contents import TensorEntry, contents
from bnlint.checkpoint.disassemble import DEEPEST, disassemble
from bnlint.cli import main
from bnlint.errors import InputError


def test_layers_tensors_values_and_globals(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), HandNorm(4))
    state = nn.BatchNorm1d(2).half().state_dict()
    torch.save({"model": model, "sd": state, "epoch": 3, "log": [0.5, ("a", None)]}, tmp_path / "a.pt")
    found = contents(tmp_path / "a.pt")
    assert found.format == "zip" and found.size == (tmp_path / "a.pt").stat().st_size
    expected = [
        (f"model.{p}" if p else "model", f"{type(m).__module__}.{type(m).__name__}") for p, m in model.named_modules()
    ]
    assert found.modules == expected
    places = {f"model.{key}": value for key, value in model.state_dict().items()} | {
        f"sd.{k}": v for k, v in state.items()
    }
    assert {t.place: (t.dtype, t.shape) for t in found.tensors} == {
        place: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for place, value in places.items()
    }
    assert ("epoch", "3") in found.values and ("log.0", "0.5") in found.values
    standing = dict(found.globals)
    assert standing["torch.nn.modules.conv.Conv2d"] == "known"
    assert [name for name, how in found.globals if how == "ask"] == [f"{HandNorm.__module__}.HandNorm"]


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("attack", ATTACKS)
def test_hostile_files_are_listed_and_nothing_runs(tmp_path, attack, protocol):
    write_attack(tmp_path / "evil.pt", attack, tmp_path / "marker", protocol)
    found = contents(tmp_path / "evil.pt")
    assert any(how not in ("known", "ask") or name.endswith("reduce_graph_module") for name, how in found.globals)
    assert not (tmp_path / "marker").exists()


def test_torch_s_own_list_of_globals_is_contained(tmp_path):
    torch.save({"m": nn.Sequential(HandNorm(2)), "e": Call(os.system, "x")}, tmp_path / "a.pt")
    theirs = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "a.pt")
    ours = [name for name, how in contents(tmp_path / "a.pt").globals]
    assert set(theirs) <= set(ours)


def test_nothing_that_a_file_names_is_imported(tmp_path):
    write_program(tmp_path / "a.pt", b"\x80\x02cantigravity\nfly\n.")
    assert contents(tmp_path / "a.pt").globals[0][0] == "antigravity.fly"
    assert "antigravity" not in sys.modules


def test_a_name_that_the_program_computes_is_shown_as_such(tmp_path):
    program = b"\x80\x04\x8c\x02oscbuiltins\ngetattr\n\x8c\x01a\x8c\x01b\x86R\x93."
    write_program(tmp_path / "a.pt", program)
    assert contents(tmp_path / "a.pt").globals[1] == ("os.?", "not the name of a class")


@pytest.mark.parametrize("kind", ["old", "plain", "safetensors"])
def test_other_formats(tmp_path, kind):
    expected = {"w": ("float32", (2, 3))}
    path = tmp_path / "x.pt"
    if kind == "old":
        torch.save({"w": torch.zeros(2, 3)}, path, _use_new_zipfile_serialization=False)
    elif kind == "plain":
        path.write_bytes(pickle.dumps({"a": [1, {"b": "c"}]}))
        assert contents(path).values == [("a.0", "1"), ("a.1.b", "c")]
        return
    else:
        save_file({"w": torch.zeros(2, 3)}, path, metadata={"who": "me"})
        assert contents(path).values == [("who", "me")]
    assert {t.place: (t.dtype, t.shape) for t in contents(path).tensors} == expected


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "zip", "torchscript", "junk", "folder", "missing"])
def test_what_is_no_checkpoint_is_one_line(tmp_path, kind):
    with pytest.raises(InputError) as caught:
        contents(write_bad(tmp_path)[kind])
    assert "\n" not in str(caught.value)


def test_keys_of_every_kind_are_told_apart(tmp_path):
    held = {1: "int", 2.5: "float", None: "none", (1, "a", None): "pair", ((1,),): "deep", "k": "name"}
    held |= {
        torch.float16: "dtype",
        frozenset({1}): "set",
        frozenset({2}): "other",
        tuple(range(50)): "long",
        False: "no",
    }
    torch.save({"d": held, "t": {(0, 1): torch.zeros(2)}, "m": {7: nn.Linear(1, 1)}}, tmp_path / "a.pt")
    found = contents(tmp_path / "a.pt")
    told = dict.fromkeys(found.values)
    expected = {"d.1": "int", "d.2.5": "float", "d.None": "none", "d.(1, 'a', None)": "pair"}
    expected |= {"d.(?,)": "deep", "d.k": "name", "d.torch.float16": "dtype", "d.False": "no"}
    expected |= {"d.(0, 1, 2, 3, 4, 5, 6, 7, …)": "long"}
    assert set(expected.items()) <= set(told)
    assert [place for place, value in found.values if value in ("set", "other")] == ["d.?", "d.?"]
    assert next(t.place for t in found.tensors) == "t.(0, 1)" and found.modules == [
        ("m.7", "torch.nn.modules.linear.Linear")
    ]


def test_a_hostile_key_is_short_and_cannot_steer_a_terminal(tmp_path):
    torch.save({("\x1b[2J" * 100, 1 << 4000): 1, 10**5000: 2, "\x1b[2J": 10**5000}, tmp_path / "a.pt")
    assert contents(tmp_path / "a.pt").values[-1][1] == "an integer of 16610 bits"
    places = [place for place, _ in contents(tmp_path / "a.pt").values]
    assert len(places) == 3 and all(place.isprintable() and len(place) < 200 for place in places)


def test_what_is_shared_is_told_once(tmp_path):
    """Of tuples that each hold the one before twice a short file can make any number."""
    doubled = b"".join(b"q" + bytes([n]) + b"0h" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(60))
    write_program(tmp_path / "a.pt", b"\x80\x02)" + doubled + b".")
    assert len(contents(tmp_path / "a.pt").values) < 100


def test_a_tensor_is_told_at_each_place(tmp_path):
    weight = nn.Parameter(torch.zeros(2))
    torch.save({"a": weight, "b": [weight, (weight, weight)]}, tmp_path / "a.pt")
    assert [t.place for t in contents(tmp_path / "a.pt").tensors] == ["a", "b.0", "b.1.0", "b.1.1"]


@pytest.mark.parametrize("at", range(5))
def test_each_pickle_of_an_old_file_is_read(tmp_path, capsys, at):
    """Five in a row: what torch calls magic number, version, machine, content and keys."""
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with (tmp_path / "a.pt").open("rb") as file:
        starts = [file.tell()]
        for _ in range(5):
            list(pickletools.genops(file))
            starts.append(file.tell())
    data = bytearray((tmp_path / "a.pt").read_bytes())
    inside = data[starts[at] + 2 : starts[at + 1]]
    data[starts[at] + 2 : starts[at + 1]] = b"cos\nsystem\n0" + inside
    (tmp_path / "a.pt").write_bytes(data)
    assert ("os.system", "part of Python itself, not a layer") in contents(tmp_path / "a.pt").globals


def test_an_old_file_is_not_said_to_load(tmp_path, capsys):
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "a.pt")])
    assert "loads only with --trust" in capsys.readouterr().out


def test_what_is_said_of_a_global_is_what_loading_does(tmp_path):
    """Torch's own list is not a copy of ours."""
    names = [
        "torch.serialization._get_layout",
        "torch.FloatStorage",
        "torch.float32",
        "torch._utils._rebuild_tensor_v3",
    ]
    asked = "".join("c{}\n{}\n".format(*name.rpartition(".")[::2]) for name in names)
    write_program(tmp_path / "a.pt", b"\x80\x02(" + asked.encode() + b"t.")
    unsafe = torch.serialization.get_unsafe_globals_in_checkpoint(tmp_path / "a.pt")
    assert {n: how == "known" for n, how in contents(tmp_path / "a.pt").globals} == {n: n not in unsafe for n in names}


def test_the_device_is_told():
    assert TensorEntry("w", "float32", (1,)).device == "cpu"


@pytest.mark.parametrize("opcode", [b"\x8e", b"\x8d", b"\x96"])
def test_a_length_that_no_memory_has_is_damage(tmp_path, opcode):
    """An old file is read from the disk, where a length is taken for what it says."""
    (tmp_path / "a.pt").write_bytes(b"\x80\x05" + opcode + (1 << 62).to_bytes(8, "little") + b"abc.")
    with pytest.raises(InputError, match="damaged"):
        contents(tmp_path / "a.pt")


def test_values_without_end_are_refused():
    import io

    deep = b"\x80\x02" + b"(" * DEEPEST * 2 + b"N" + b"t" * DEEPEST * 2 + b"."
    with pytest.raises(ValueError, match="too deeply"):
        disassemble(io.BytesIO(deep))
    for program in (
        b"\x80\x02.",
        b"\x80\x02t.",
        b"\x80\x02h\x01.",
        b"\x80\x02a.",
        b"\x80\x02R.",
        b"\x80\x02",
        b"\x80\x02)b.",
    ):
        with pytest.raises(ValueError, match=r".") as caught:
            disassemble(io.BytesIO(program))
        assert type(caught.value) is ValueError


def test_on_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": torch.zeros(2, 3), "x": Call(os.system, "x")}, "a.pt")
    for options in ([], ["--output-format", "json"]):
        with pytest.raises(SystemExit) as ended:
            main(["inspect", "a.pt", *options])
        assert ended.value.code == 0
        out, err = capsys.readouterr()
        assert (err == "" and "posix.system" in out and "2x3" in out) or json.loads(out)["tensors"] == [
            {"path": "w", "dtype": "float32", "shape": [2, 3], "device": "cpu"}
        ]
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "absent.pt"])
    assert ended.value.code == 2 and capsys.readouterr().err == "error: absent.pt: no such file\n"
