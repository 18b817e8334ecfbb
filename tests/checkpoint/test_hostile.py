"""Files made to harm whoever reads them: none runs, none crashes, none fills memory or disk; each is one clear line."""

import io
import pickle
import resource
import struct
import tarfile
import zipfile

import pytest
import torch
from hostile import Call, write_program
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from variants import HandNorm

from bnlint.checkpoint.contents import contents
from bnlint.checkpoint.formats import load
from bnlint.checkpoint.limits import bounded
from bnlint.checkpoint.repair import repair_checkpoint
from bnlint.checkpoint.trust import Trust
from bnlint.errors import BnlintError, InputError, UntrustedError

pytestmark = pytest.mark.filterwarnings("ignore")
GIB = 1 << 30


def archive(path, parts, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in parts:
            target.writestr(name, data)


def tensor(size, stride=(1,), numel="K\x04", storage="FloatStorage"):
    """The program of a tensor on storage 0, with a size and strides of one's own."""
    shape = b"".join(b"\x8a" + bytes([8]) + struct.pack("<q", s) for s in size)
    strides = b"".join(b"\x8a" + bytes([8]) + struct.pack("<q", s) for s in stride)
    count = numel.encode("latin1")
    persistent = (
        b"(X\x07\x00\x00\x00storagectorch\n" + storage.encode() + b"\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count
    )
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + b"tQK\x00(" + shape + b"t(" + strides + b"t"
    return b"\x80\x02" + call + b"\x89ccollections\nOrderedDict\n)RtR."


def of_parts(*parts):
    base = [("a/version", "3\n"), ("a/byteorder", "little"), ("a/data/0", bytes(16))]
    return lambda path: archive(path, [*base, *parts])


def with_program(program):
    return of_parts(("a/data.pkl", program))


def bomb(path):
    archive(path, [("a/data.pkl", b"\x80\x02" + b"N0" * 8_000_000 + b"N."), ("a/version", "3\n")], zipfile.ZIP_DEFLATED)


def bomb_of_data(path):
    parts = [("a/data.pkl", tensor([1])), ("a/version", "3\n"), ("a/data/0", bytes(50_000_000))]
    archive(path, parts, zipfile.ZIP_DEFLATED)


def overlapping(path):
    """Many entries of the directory that share one part."""
    archive(path, [("a/data.pkl", b"\x80\x02N."), ("a/version", "3\n"), ("a/data/0", bytes(100_000))])
    data = path.read_bytes()
    start = data.rindex(b"PK\x01\x02", 0, data.rindex(b"PK\x05\x06"))
    entry, end = data[start : data.rindex(b"PK\x05\x06")], data[data.rindex(b"PK\x05\x06") :]
    copies = b"".join(entry.replace(b"a/data/0", b"a/data/%d" % n) for n in range(1, 10))
    first = struct.unpack("<I", end[16:20])[0]
    size = len(data) - len(end) - first + len(copies)
    path.write_bytes(data[: -len(end)] + copies + end[:8] + struct.pack("<HHII", 12, 12, size, first) + b"\0\0")


def twice(path):
    archive(path, [("a/data.pkl", b"\x80\x02N."), ("a/version", "3\n"), ("a/data.pkl", b"\x80\x02cos\nsystem\n.")])


def pickle_in_pickle(path):
    inner = pickle.dumps(Call(print, "never"))
    torch.save({"a": Call(pickle.loads, inner)}, path)


def reduce_chain(path):
    value = Call(getattr, Call(__import__, "os"), "system")
    torch.save({"a": value, "b": Call(map, value, ["true"])}, path)


def big_endian_name(path):
    of_parts(("a/data.pkl", tensor([4])))(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"a/byteorder", b"a/byteordex"))


def tar(path):
    with tarfile.open(path, "w") as target:
        info = tarfile.TarInfo("../../evil")
        info.size = 4
        target.addfile(info, io.BytesIO(b"evil"))


RANGE = b"c__builtin__\nxrange\n\x8a\x08" + struct.pack("<q", 10**15) + b"\x85R"
HOSTILE = {
    "reduce chain": reduce_chain,
    "pickle in a pickle": pickle_in_pickle,
    "a name made of pieces": with_program(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R."),
    "a name that is computed": with_program(b"\x80\x04\x8c\x02oscbuiltins\ngetattr\n\x8c\x01a\x8c\x01b\x86R\x93."),
    "a module that is a path": with_program(b"\x80\x02c../../evil\nmain\n)R."),
    "an extension code": with_program(b"\x80\x02\x82\x01)R."),
    "an attribute of a known class": with_program(b"\x80\x02ctorch.nn.modules.conv\nos.system\n."),
    "a set of all numbers": with_program(b"\x80\x02c__builtin__\nset\n" + RANGE + b"\x85R."),
    "a frozen set of all numbers": with_program(b"\x80\x02c__builtin__\nfrozenset\n" + RANGE + b"\x85R."),
    "bytes without end": with_program(b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\x10\x85R."),
    "a storage without end": with_program(b"\x80\x02ctorch.storage\nUntypedStorage\n\x8a\x06\0\0\0\0\0\x10\x85R."),
    "a tensor larger than its storage": with_program(tensor([10**12])),
    "a tensor of negative size": with_program(tensor([-4])),
    "a tensor before its storage": with_program(tensor([4], stride=(-1,))),
    "a storage larger than its part": with_program(tensor([10**9], numel="J\0\0\0\x40")),
    "a string longer than the file": with_program(b"\x80\x02X\xff\xff\xff\x7fabc."),
    "a number without end": with_program(b"\x80\x02\x8b\xff\xff\xff\x7fabc."),
    "values nested without end": with_program(b"\x80\x02" + b"]" * 50_000 + b"a" * 49_999 + b"."),
    "values nested from above": with_program(
        b"\x80\x02]r\0\0\0\0" + b"".join(
            b"]r" + struct.pack("<I", n) + b"aj" + struct.pack("<I", n) for n in range(1, 20_000)
        ) + b"j\0\0\0\0."
    ),
    "a key nested without end": with_program(b"\x80\x02}" + b")" + b"\x85" * 300_000 + b"Ns."),
    "a zip bomb": bomb,
    "a zip bomb of numbers": bomb_of_data,
    "parts that overlap": overlapping,
    "two parts of one name": twice,
    "two parts of one name to torch": of_parts(
        ("a/data.pkl", b"\x80\x02N."), ("a/DATA.PKL", b"\x80\x02cos\nsystem\n.")
    ),
    "a pickle beside the pickle": lambda p: archive(
        p, [("b/x/data.pkl", tensor([4])), ("b/data.pkl", b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.")]
    ),
    "a part above the folder": of_parts(("a/data.pkl", tensor([4])), ("../../evil", "evil")),
    "a part at the root": of_parts(("a/data.pkl", tensor([4])), ("/etc/evil", "evil")),
    "a part above a folder of Windows": of_parts(("a/data.pkl", tensor([4])), ("a\\..\\..\\evil", "evil")),
    "a byte order of its own": lambda p: archive(p, [("a/data.pkl", tensor([4])), ("a/byteorder", "middle")]),
    "a version of the future": lambda p: archive(p, [("a/data.pkl", tensor([4])), ("a/version", "999999")]),
    "no storage": lambda p: archive(p, [("a/data.pkl", tensor([4])), ("a/version", "3")]),
    "no pickle": of_parts(("a/data.pkl", b"")),
    "half of a pickle": of_parts(("a/data.pkl", tensor([4])[:-30])),
    "a tar with a path": tar,
    "safetensors of any size": lambda p: p.write_bytes(struct.pack("<Q", 1 << 31) + b'{"w":'),
    "safetensors beyond their end": lambda p: p.write_bytes(
        struct.pack("<Q", 64) + b'{"w":{"dtype":"F32","shape":[9999],"data_offsets":[0,39996]}}'.ljust(64)
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def no_more_memory():
    """A file that could fill memory fails its test instead."""
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (8 * GIB, before[1]))
    yield
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == 8 * GIB
    resource.setrlimit(resource.RLIMIT_DATA, before)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_file_does_anything(tmp_path, monkeypatch, name):
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    path = folder / "evil.pt"
    HOSTILE[name](path)
    monkeypatch.setattr("os.system", lambda *_: pytest.fail("it ran"))

    with pytest.raises(BnlintError) as caught:
        repair_checkpoint(path, folder / "out.pt", Trust())

    assert type(caught.value) in (InputError, UntrustedError)
    first, *names = caught.value.what.split("\n")
    assert first and all(line.isprintable() for line in (first, *names))
    assert not names or isinstance(caught.value, UntrustedError)
    assert "holds no model" not in first and caught.value.where == str(path)
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "in", folder, path]


@pytest.mark.parametrize("name", HOSTILE)
def test_no_hostile_file_harms_whoever_looks_into_it(tmp_path, name):
    HOSTILE[name](tmp_path / "evil.pt")
    try:
        contents(tmp_path / "evil.pt")
    except InputError as error:
        assert str(error).isprintable()
    assert [file.name for file in tmp_path.iterdir()] == ["evil.pt"]


def test_a_file_of_the_other_byte_order_gives_its_numbers(tmp_path):
    values = struct.pack(">4f", 1, 2, 3, 4)
    parts = [("a/data.pkl", tensor([4])), ("a/version", "3\n"), ("a/byteorder", "big"), ("a/data/0", values)]
    archive(tmp_path / "a.pt", parts)
    assert load(tmp_path / "a.pt").content.tolist() == [1, 2, 3, 4]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "a.pt"
    content = {"model": nn.Sequential(nn.Linear(3, 4), HandNorm(4)), "w": torch.arange(40.0), "epoch": 3}
    torch.save(content, path)
    return path, path.read_bytes(), content


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_wherever_a_bit_is_flipped_it_is_noticed_or_harmless(whole, tmp_path_factory, data):
    """A flipped bit in a number or a program is found by its checksum; one in padding changes nothing."""
    path, before, content = whole
    flips = data.draw(st.lists(st.integers(0, len(before) * 8 - 1), min_size=1, max_size=3, unique=True))
    changed = bytearray(before)
    for flip in flips:
        changed[flip // 8] ^= 1 << flip % 8
    broken = path.with_name("b.pt")
    broken.write_bytes(changed)
    try:
        found = load(broken, Trust({"HandNorm": HandNorm})).content
    except BnlintError as error:
        assert type(error) in (InputError, UntrustedError) and str(error).split("\n")[0].isprintable()
    else:
        assert torch.equal(found["w"], content["w"]) and found["epoch"] == 3
        ours, theirs = found["model"].state_dict(), content["model"].state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@settings(max_examples=150, deadline=None)
@given(program=st.binary(max_size=60))
def test_no_program_of_any_bytes_crashes(tmp_path_factory, program):
    path = tmp_path_factory.getbasetemp() / "any.pt"
    write_program(path, b"\x80\x02" + program + b".")
    for read in (load, contents):
        try:
            read(path)
        except BnlintError as error:
            assert str(error).split("\n")[0].isprintable()


def test_bytes_that_no_part_holds_do_not_count_as_damage(whole):
    path, before, _ = whole
    path.with_name("c.pt").write_bytes(before)
    assert load(path.with_name("c.pt"), Trust({"HandNorm": HandNorm})).content["epoch"] == 3


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("parts that overlap", "its parts overlap"),
        ("two parts of one name", "have one name"),
        ("a zip bomb", "a hundred times its size"),
        ("a part above the folder", "a path out of it"),
        ("a set of all numbers", "more memory"),
        ("values nested from above", "too deeply"),
    ],
)
def test_it_is_said_what_is_wrong(tmp_path, name, said):
    HOSTILE[name](tmp_path / "evil.pt")
    with pytest.raises(InputError, match=said):
        load(tmp_path / "evil.pt")


def test_memory_is_bounded_while_a_file_is_read_and_only_then():
    with bounded(0), pytest.raises(RuntimeError, match="allocate"):
        torch.empty(3 * GIB, dtype=torch.uint8)
    with bounded(3 * GIB):
        torch.empty(3 * GIB, dtype=torch.uint8)
