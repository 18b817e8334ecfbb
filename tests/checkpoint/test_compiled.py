"""TorchScript archives and exported programs: read without running anything of theirs."""

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
    assert "damaged" in caught.value.what and "again" in caught.value.hint


def test_a_number_that_is_damaged_in_an_archive_is_noticed(tmp_path):
    """Torch itself does not look at the checksums."""
    path = saved(nn.Sequential(nn.Linear(3, 2)), tmp_path / "model.pt")
    content = bytearray(path.read_bytes())
    content[part(path, "model/data/", "0")[2] + 1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="does not match its checksum"):
        load_compiled(path)
