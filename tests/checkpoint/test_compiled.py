"""TorchScript archives and exported programs: read without running anything of theirs."""

import os
import re
import warnings
import zipfile

import pytest
import torch
from torch import nn

from bnlint.checkpoint.compiled import load_compiled
from bnlint.checkpoint.trust import Trust
from bnlint.errors import InputError, UntrustedError

pytestmark = pytest.mark.filterwarnings("ignore")


class Writes(nn.Module):
    def forward(self, x):
        torch.save(x, "written.out")
        return x


class Rebuilds(nn.Module):
    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return torch.ones(1), self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):
        self.training = state[1]


def saved(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model).save(str(path))
    return path


def test_an_archive_gives_its_model(tmp_path):
    path = saved(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), tmp_path / "model.pt")
    checkpoint = load_compiled(path)
    assert checkpoint.path == path
    assert checkpoint.content(torch.randn(4, 3)).shape == (4, 2)


@pytest.mark.parametrize(("model", "said"), [(Writes(), "torch.save"), (Rebuilds(), "__setstate__")])
def test_code_that_could_do_harm_is_refused_unread(tmp_path, monkeypatch, model, said):
    path = saved(model, tmp_path / "model.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UntrustedError, match=said) as caught:
        load_compiled(path)
    assert "--trust" in caught.value.hint
    assert load_compiled(path, Trust(everything=True)) is not None
    assert not (tmp_path / "written.out").exists()


def rewritten(source, target, change):
    """Write an archive again, each part under the name and with the content that `change` gives it."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w") as into:
        for name in archive.namelist():
            into.writestr(*change(name, archive.read(name)))
    return target


def recoded(text):
    return lambda name, data: (name, data.replace(b"torch.save(x, ", text))


def renamed(old, new):
    return lambda name, data: (name.replace(old, new), data)


def two_directories(source, target):
    """Two archives in one file, of which Python reads the second and torch the first."""
    harmless = rewritten(source, target, recoded(b"torch.relu(x) # "))
    harmful = rewritten(source, target.with_suffix(".harm"), recoded(b"torch.save(x,   "))
    one, other = harmful.read_bytes(), harmless.read_bytes()
    end = one.rindex(b"PK\x05\x06")
    assert other.rindex(b"PK\x05\x06") == end, "both must be as long"
    target.write_bytes(one[:end] + other)
    harmful.unlink()
    return target


HIDDEN = {
    "an operator": lambda *files: rewritten(*files, recoded(b"ops.aten.save(x, ")),
    "a name with a gap": lambda *files: rewritten(*files, recoded(b"torch .save(x, ")),
    "another name of torch": lambda *files: rewritten(*files, recoded(b"t = torch\n    t.save(x, ")),
    "an attribute": lambda *files: rewritten(*files, recoded(b'getattr(torch, "save")(x, ')),
    "an attribute with escapes": lambda *files: rewritten(*files, recoded(rb'getattr(torch, "sa\166e")(x, ')),
    "an attribute further on": lambda *files: rewritten(*files, recoded(b'getattr(\n torch, "s" "ave")(x, ')),
    "an ending in capitals": lambda *files: rewritten(*files, renamed(".py", ".PY")),
    "a folder in capitals": lambda *files: rewritten(*files, renamed("code/", "Code/")),
    "two directories": two_directories,
}


@pytest.mark.parametrize("hidden", HIDDEN)
def test_code_is_found_however_it_is_written_and_wherever_torch_finds_it(tmp_path, monkeypatch, hidden):
    path = HIDDEN[hidden](saved(Writes(), tmp_path / "model.pt"), tmp_path / "hidden.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UntrustedError, match="holds code that uses"):
        load_compiled(path)
    torch.jit.load(str(path))(torch.ones(2))  # no straw man: torch runs it
    assert (tmp_path / "written.out").exists()


def test_parts_that_only_one_of_the_two_readers_sees_are_refused(tmp_path):
    path = saved(nn.Linear(3, 2), tmp_path / "model.pt")
    hidden = rewritten(path, tmp_path / "hidden.pt", renamed("code/", "Code/"))
    plain = rewritten(path, tmp_path / "plain.pt", lambda name, data: (name, data)).read_bytes()
    other = hidden.read_bytes()
    assert len(other) == len(plain)
    hidden.write_bytes(other[: other.rindex(b"PK\x05\x06")] + plain)
    with pytest.raises(InputError, match="parts that torch does not see"):
        load_compiled(hidden)


def test_a_layer_that_names_its_operators_plainly_is_loaded(tmp_path):
    from torchvision.ops.misc import Conv2dNormActivation

    path = saved(Conv2dNormActivation(3, 4), tmp_path / "model.pt")
    assert load_compiled(path).content(torch.randn(2, 3, 5, 5)).shape == (2, 4, 5, 5)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "model.pt")
    assert load_compiled(tmp_path / "model.pt") is None


def test_an_exported_program_wants_trust(tmp_path):
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.randn(4, 3),)), path)
    with pytest.raises(UntrustedError, match="pickles"):
        load_compiled(path)
    assert load_compiled(path, Trust(everything=True)).content(torch.randn(4, 3)).shape == (4, 2)


def test_other_files_are_none_of_it(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "plain.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    assert load_compiled(tmp_path / "plain.pt") is None
    assert load_compiled(tmp_path / "junk.pt") is None
    assert load_compiled(tmp_path / "absent.pt") is None


def test_a_damaged_archive_is_one_line(tmp_path):
    import zipfile

    whole, broken = saved(nn.Linear(3, 2), tmp_path / "model.pt"), tmp_path / "broken.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(broken, "w") as target:
        for name in source.namelist():
            target.writestr(name, b"junk" if name.endswith("data.pkl") else source.read(name))
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        load_compiled(broken)
    assert "\n" not in str(caught.value)


def part(path, start, end):
    """The name of the first part that starts and ends so, and where it and its content begin in the file."""
    with zipfile.ZipFile(path) as archive:
        info = next(
            each for each in archive.infolist() if each.filename.startswith(start) and each.filename.endswith(end)
        )
    content, at = path.read_bytes(), info.header_offset
    lengths = (int.from_bytes(content[at + field : at + field + 2], "little") for field in (26, 28))
    return info.filename.encode(), at, at + 30 + sum(lengths)


def spoil(path, *, name=False, checksum=True):
    """Damage the code of an archive, or the name in front of it; and take out its checksum, as torch can be told to."""
    filename, header, start = part(path, "model/code/", ".py")
    content = bytearray(path.read_bytes())
    at = header + 30 + filename.index(b"code") if name else start
    content[at : at + 4] = b"\xff\xff\xff\xff"
    if not checksum:
        entry = next(  # of two names that begin alike the one that is as long
            found.start()
            for found in re.finditer(rb"PK\x01\x02", content)
            if content[found.start() + 46 :].startswith(filename)
            and int.from_bytes(content[found.start() + 28 : found.start() + 30], "little") == len(filename)
        )
        content[entry + 16 : entry + 20] = bytes(4)
    path.write_bytes(content)


@pytest.mark.parametrize("name", [False, True])
@pytest.mark.parametrize("checksum", [True, False])
def test_an_archive_that_is_damaged_is_refused_in_one_line(tmp_path, name, checksum):
    path = saved(nn.Sequential(nn.Linear(3, 2)), tmp_path / "model.pt")
    spoil(path, name=name, checksum=checksum)
    with pytest.raises(InputError) as caught:
        load_compiled(path)
    if name or checksum:  # else nothing tells it from code that somebody wrote
        assert "damaged" in caught.value.what and "again" in caught.value.hint
    assert "\n" not in str(caught.value)


def test_a_number_that_is_damaged_in_an_archive_is_noticed(tmp_path):
    """Torch itself does not look at the checksums."""
    path = saved(nn.Sequential(nn.Linear(3, 2)), tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    content[part(path, "model/data/", "0")[2] + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not match its name or its checksum"):
        load_compiled(path)
