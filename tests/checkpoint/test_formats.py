import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from hostile import write_bad
from torch import nn

from bnlint.checkpoint.code import Code, definitions
from bnlint.checkpoint.formats import Checkpoint, load, modules, save
from bnlint.checkpoint.trust import Trust
from bnlint.errors import BnlintError, InputError, UntrustedError

SCRIPT = """
import sys
import torch
from torch import nn
from torchvision.models import resnet18


class BatchNorm2d_new(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x)


def convert(module):
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            new = BatchNorm2d_new(child.num_features)
            new.load_state_dict(child.state_dict())
            setattr(module, name, new)
        convert(child)


torch.manual_seed(0)
model = resnet18(num_classes=10)
convert(model)
model.eval()
x = torch.ones(1, 3, 32, 32)
torch.save({"model": model, "epoch": 3}, sys.argv[1] + "/model.pt")
torch.save({"x": x, "y": model(x)}, sys.argv[1] + "/expected.pt")
"""


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with train.py and what a real run of it as a script left there."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.py").write_text(SCRIPT)
    subprocess.run([sys.executable, folder / "train.py", folder], check=True)
    return folder


def test_a_script_s_model_loads_with_its_code_and_without_its_training(trained, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["nothing", str(trained / "must-not-be-written")])
    code = definitions(Code(trained / "train.py"))
    checkpoint = load(trained / "model.pt", Trust(code=code))
    ((name, model),) = modules(checkpoint.content)
    expected = load(trained / "expected.pt").content
    assert name == "model"
    assert sum(type(layer) is code["BatchNorm2d_new"] for layer in model.modules()) == 20
    assert checkpoint.names == {"__main__.BatchNorm2d_new": code["BatchNorm2d_new"]}
    torch.testing.assert_close(model(expected["x"]), expected["y"])


def test_it_is_refused_without_its_code(trained):
    with pytest.raises(UntrustedError, match=r"1 global .*\n  __main__\.BatchNorm2d_new$") as caught:
        load(trained / "model.pt")
    assert caught.value.hint.startswith(f"bnlint check {trained / 'model.pt'} --code FILE.py")


def test_it_loads_with_trust_and_its_code(trained):
    trust = Trust(code=definitions(Code(trained / "train.py")), everything=True)
    checkpoint = load(trained / "model.pt", trust)
    assert type(checkpoint.content["model"].bn1) is trust.code["BatchNorm2d_new"]
    assert not hasattr(sys.modules["__main__"], "BatchNorm2d_new")
    with pytest.raises(InputError, match="BatchNorm2d_new"):
        load(trained / "model.pt", Trust(everything=True))


@pytest.mark.parametrize("home", ["__main__", "no.such.package"])
def test_a_saved_model_keeps_the_names_of_the_file_it_came_from(trained, tmp_path, home):
    code = definitions(Code(trained / "train.py"))
    name = f"{home}.BatchNorm2d_new"
    norm = code["BatchNorm2d_new"]
    save(Checkpoint(tmp_path, norm(3), {name: norm}), tmp_path / "out.pt", verify=lambda path: None)
    assert load(tmp_path / "out.pt", Trust(code=code)).names == {name: code["BatchNorm2d_new"]}


def test_a_saved_custom_model_loads_again_where_its_script_is_main(trained, tmp_path):
    code = definitions(Code(trained / "train.py"))
    checkpoint = load(trained / "model.pt", Trust(code=code))
    save(checkpoint, trained / "again.pt", verify=lambda path: None)
    lines = SCRIPT.split("torch.manual_seed", 1)[0] + "m = torch.load(sys.argv[1], weights_only=False)['model']\n"
    (tmp_path / "use.py").write_text(lines + "assert type(m.bn1) is BatchNorm2d_new\n")
    subprocess.run([sys.executable, tmp_path / "use.py", trained / "again.pt"], check=True)


@pytest.mark.parametrize(
    ("kind", "what"),
    {
        "truncated": "cut short",
        "empty": "empty file",
        "text": "text file",
        "lfs": "Git LFS pointer",
        "plain": "plain pickle",
        "old": "before 1.6",
        "zip": "zip archive",
        "torchscript": "TorchScript",
        "junk": "not a checkpoint",
        "folder": "a folder",
        "missing": "no such file",
    }.items(),
)
def test_each_bad_file_has_one_clear_line(tmp_path, kind, what):
    path = write_bad(tmp_path)[kind]
    with pytest.raises(InputError, match=what) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_a_damaged_archive_is_an_input_error_wherever_it_is_cut(tmp_path):
    path, cut = tmp_path / "whole.pt", tmp_path / "cut.pt"
    torch.save(nn.Linear(4, 4), path)
    data = path.read_bytes()
    for size in range(4, len(data), 97):
        cut.write_bytes(data[:size])
        with pytest.raises(InputError):
            load(cut)
    for start in range(0, len(data), 29):
        cut.write_bytes(data[:start] + bytes(b ^ 0xFF for b in data[start : start + 8]) + data[start + 8 :])
        try:
            load(cut)
        except BnlintError as error:
            assert "\n" not in str(error) or isinstance(error, UntrustedError)


def test_with_trust_old_formats_load_too(tmp_path):
    bad = write_bad(tmp_path)
    assert isinstance(load(bad["old"], Trust(everything=True)).content, nn.Linear)
    with pytest.raises(InputError, match="text file"):
        load(bad["text"], Trust(everything=True))


def test_the_models_in_a_checkpoint():
    net, ema, disc = nn.Linear(1, 1), nn.Linear(1, 1), nn.Linear(1, 1)
    content = {"model": net, "same": net, "ema": ema, "nets": [{"D": disc}], "state": net.state_dict(), "epoch": 3}
    content["loop"] = content
    assert modules(content) == [("model", net), ("ema", ema), ("nets.0.D", disc)]
    assert modules(net) == [("", net)]
    assert modules(net.state_dict()) == []


def test_a_state_dict_loads_and_holds_no_model(tmp_path):
    torch.save(nn.BatchNorm2d(3).state_dict(), tmp_path / "state.pt")
    content = load(tmp_path / "state.pt").content
    assert next(iter(content)) == "weight"
    assert modules(content) == []


def test_save_verifies_the_file_before_it_takes_the_place_of_the_target(tmp_path):
    target = tmp_path / "model.pt"
    torch.save({"old": 1}, target)
    target.chmod(0o640)
    seen = []

    def verify(path):
        assert path.parent == tmp_path
        seen.append((load(path).content, load(target).content))

    with target.open("rb") as before:
        old = target.read_bytes()
        save(Checkpoint(target, {"new": 2}), target, verify=verify)
        assert before.read() == old, "a reader that has the old file open sees it to its end"
    assert seen == [({"new": 2}, {"old": 1})]
    assert load(target).content == {"new": 2}
    assert target.stat().st_mode & 0o777 == 0o640
    assert listing(tmp_path) == ["model.pt"]


def refuse(path):
    raise InputError("not verified")


@pytest.mark.parametrize(
    ("content", "verify", "what"),
    [
        ({"a": 1}, refuse, "not verified"),
        ({"a": lambda: 1}, lambda path: None, "cannot be saved"),
        ({"a": 1}, lambda path: path.read_bytes() and (path / "x").read_bytes(), "cannot be written"),
    ],
)
def test_a_failing_save_leaves_everything_as_it_was(tmp_path, content, verify, what):
    target = tmp_path / "model.pt"
    target.write_bytes(b"precious")
    with pytest.raises(InputError, match=what):
        save(Checkpoint(target, content), target, verify=verify)
    assert target.read_bytes() == b"precious"
    assert listing(tmp_path) == ["model.pt"]


def test_an_interrupted_save_leaves_nothing_behind(tmp_path):
    def interrupt(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save(Checkpoint(tmp_path, {}), tmp_path / "model.pt", verify=interrupt)
    assert listing(tmp_path) == []


def test_where_it_cannot_write_it_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        save(Checkpoint(tmp_path, {}), tmp_path / "no" / "model.pt", verify=lambda path: None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save(Checkpoint(tmp_path, {}), tmp_path / "folder", verify=lambda path: None)
    assert listing(tmp_path) == ["folder"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "store").mkdir()
    link, target = tmp_path / "model.pt", tmp_path / "store" / "v1.pt"
    target.touch()
    link.symlink_to(target)
    save(Checkpoint(link, {"a": 1}), link, verify=lambda path: None)
    assert link.is_symlink()
    assert load(target).content == {"a": 1}


def test_kill_9_leaves_the_old_file_or_the_new_one(tmp_path):
    target = tmp_path / "model.pt"
    torch.save({"n": -1, "w": torch.zeros(1)}, target)
    (tmp_path / "writer.py").write_text(
        textwrap.dedent(
            """
            import sys, torch, pathlib
            from bnlint.checkpoint.formats import Checkpoint, save
            path = pathlib.Path(sys.argv[1])
            for n in range(10**6):
                save(Checkpoint(path, {"n": n, "w": torch.full((200_000,), float(n))}), path, verify=lambda p: None)
                if n == 0:
                    print("go", flush=True)
            """
        )
    )
    for delay in (0.03, 0.05):
        process = subprocess.Popen([sys.executable, tmp_path / "writer.py", target], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        content = load(target).content
        assert bool((content["w"] == float(max(content["n"], 0))).all())
    assert content["n"] >= 0


def test_an_exported_program_says_what_to_put_right(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.ones(1, 2),)), tmp_path / "m.pt2")
    with pytest.raises(InputError, match="exported program") as caught:
        load(tmp_path / "m.pt2", Trust(everything=True))
    assert "bnlint fix FILE.py" in caught.value.hint
