"""Checkpoints and factories on the command line: what is printed, written and returned."""

import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hostile import ATTACKS, write_attack, write_bad
from torch import nn

from bnlint.cli import main
from bnlint.layers import FusedBatchNorm2d

ROOT = Path(__file__).parent.parent

# Run as a script, so that its classes are pickled as __main__.Name; its last lines must never run again.
TRAINING = """
import sys

import torch
from torch import nn


def wide(statistic):
    return statistic[None, :, None, None]


class HandNorm(nn.BatchNorm2d):
    def forward(self, x):
        stats = {"mean": x.mean(dim=[0, 2, 3]).detach().clone()}
        stats["var"] = x.var(dim=[0, 2, 3]).detach()
        out = (x - wide(stats["mean"])) / torch.sqrt(wide(stats["var"]) + self.eps)
        return out * wide(self.weight) + wide(self.bias)


class Activated(HandNorm):
    def forward(self, x):
        self.steps = getattr(self, "steps", 0) + 1
        return torch.relu(super().forward(x))


def make(norm=HandNorm):
    return nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.ReLU(), nn.Conv2d(4, 5, 3), norm(5), nn.Conv2d(5, 2, 1))


def make_right():
    return make(nn.BatchNorm2d)


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.save(make(), "model.pt")
    torch.save(make(Activated), "refused.pt")
    torch.save(make_right(), "right.pt")
    torch.save(make().state_dict(), "state.pt")
"""

GIVEN = ["--code", "train.py", "--input", "4x3x12x12"]
KEYS = {
    *("code", "name", "severity", "message", "path", "cell", "line", "column", "end_line", "end_column", "symbol"),
    *("statistic", "stop", "fix", "module", "class_name", "gradient_error", "gradient_cosine"),
    *("step_error", "step_cosine"),
}


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def bnlint(*arguments, cwd):
    return run("-m", "bnlint", *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training script and what it saved."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "train.py").write_text(TRAINING)
    assert run("train.py", cwd=folder).returncode == 0
    return folder


@pytest.fixture
def user(trained, tmp_path, monkeypatch):
    """A copy of that folder as the current one."""
    for file in trained.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("train", None)


@pytest.fixture
def cli(capsys):
    """Run the command line in this process: faster than a new one that loads torch."""

    def called(*arguments):
        with pytest.raises(SystemExit) as exit_code:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return exit_code.value.code, out, err

    return called


def lines_with(text):
    return [number for number, line in enumerate(TRAINING.splitlines(), 1) if text in line]


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}


def complains(result, *said, files_before=None, folder=None):
    """One clear message on stderr, exit code 2, nothing on stdout, no traceback, nothing written."""
    code, out, err = result
    assert code == 2
    assert out == "" and "Traceback" not in err
    assert err.startswith(("error: ", "usage: "))
    assert err.count("error: ") + err.count("usage: ") == 1
    assert all(text in err for text in said), err
    if folder is not None:
        assert files(folder) == files_before


# -- the story, in processes of their own


def test_the_story_from_a_script_to_a_file_that_needs_torch_alone(trained, tmp_path):
    before = files(trained)
    checked = bnlint("check", "model.pt", "--code", "train.py", "--output-format", "json", cwd=trained)
    assert checked.returncode == 1, checked.stderr
    findings = json.loads(checked.stdout)
    assert [(f["module"], f["statistic"]) for f in findings] == [
        ("1", "mean"),
        ("1", "var"),
        ("4", "mean"),
        ("4", "var"),
    ]
    assert {f["line"] for f in findings} == set(lines_with(".detach()"))
    assert all(set(f) == KEYS and f["class_name"] == "HandNorm" and f["code"] == "BN101" for f in findings)
    assert all(f["path"] == "train.py" and f["gradient_error"] > 0.01 and f["gradient_cosine"] < 1 for f in findings)

    output, proof = tmp_path / "repaired.pt", tmp_path / "proof.json"
    options = ["--code", "train.py", "-o", str(output), "--certificate", str(proof), "--adopt-torch-conventions"]
    fixed = bnlint("fix", "model.pt", *options, cwd=trained)
    assert fixed.returncode == 0, fixed.stderr
    assert "Traceback" not in fixed.stderr
    assert files(trained) == before
    certificate = json.loads(proof.read_text())
    assert [(c["module"], c["accepted"], c["class_after"]) for c in certificate["layers"]] == [
        ("1", True, "BatchNorm2d"),
        ("4", True, "BatchNorm2d"),
    ]
    assert all(c["gradient_error"] < 1e-9 < c["gradient_error_before"] for c in certificate["layers"])
    assert certificate["versions"]["torch"] == torch.__version__ and certificate["device"]["type"] == "cpu"
    for role, file in (("input", trained / "model.pt"), ("output", output)):
        assert certificate[role]["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        assert trained / certificate[role]["path"] == file

    plain = run(
        "-c",
        "import sys; sys.modules['bnlint'] = None\n"
        "import torch; model = torch.load('repaired.pt', weights_only=False)\n"
        "print([type(m).__module__ for m in model], model(torch.randn(2, 3, 8, 8)).shape)",
        cwd=tmp_path,
    )
    assert plain.returncode == 0, plain.stderr
    assert "bnlint" not in plain.stdout and "__main__" not in plain.stdout

    again = bnlint("check", str(output), cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, "")


# -- in this process


def test_a_repaired_file_keeps_conventions_and_says_what_it_needs(user, cli):
    code, out, _ = cli("fix", "model.pt", "--code", "train.py", "-o", "repaired.pt")

    assert code == 0
    assert "FusedBatchNorm2d" in out and "bnlint.layers" in out and "--adopt-torch-conventions" in out
    before, after = (torch.load(user / name, weights_only=False) for name in ("right.pt", "repaired.pt"))
    assert list(after.state_dict()) == list(before.state_dict())
    x = torch.randn(4, 4, 5, 5)
    mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True)
    for layer in (after[1].train(), after[1].eval()):
        torch.testing.assert_close(layer(x), (x - mean) / (var + 1e-5).sqrt())
    assert not after[1].running_mean.any()
    assert cli("check", "repaired.pt", "--allow", "bnlint.layers")[0] == 0


def test_the_input_is_not_overwritten_by_naming_it_twice(user, cli):
    before = (user / "model.pt").read_bytes()
    (user / "link.pt").symlink_to("model.pt")
    for output in ("model.pt", str(user / "model.pt"), "link.pt"):
        code, _, err = cli("fix", "model.pt", "--code", "train.py", "-o", output)
        assert (code, err.splitlines()[-1]) == (2, "  try: bnlint fix model.pt --in-place")
    assert cli("fix", "model.pt", "--code", "train.py", "-o", "other.pt", "--in-place")[0] == 2
    assert (user / "model.pt").read_bytes() == before and not (user / "other.pt").exists()


def test_what_fix_asks_for_names_fix(user, cli):
    for where in (["-o", "other.pt"], ["--in-place"]):
        assert (
            f"try: bnlint fix model.pt --code FILE.py {' '.join(where)}   (FILE.py" in cli("fix", "model.pt", *where)[2]
        )


def test_what_was_given_is_in_the_command_to_try(user, cli):
    torch.save({"a": torch.distributions.Normal, "b": torch.distributions.Gamma}, "asks.pt")
    given = ["--code", "train.py", "--allow", "torch.distributions.gamma"]
    allowing = "--allow torch.distributions.normal.Normal --code train.py --allow torch.distributions.gamma"
    assert cli("check", "asks.pt", *given)[2].splitlines()[-1] == f"  try: bnlint check asks.pt {allowing}"
    assert (
        cli("fix", "asks.pt", *given, "-o", "b.pt")[2].splitlines()[-1]
        == f"  try: bnlint fix asks.pt {allowing} -o b.pt"
    )
    hint = cli("fix", "state.pt", "--code", "train.py", "-o", "b.pt")[2].splitlines()[-1]
    assert hint.endswith("bnlint fix state.pt --model PKG.MODULE:FACTORY --code train.py -o b.pt")


def test_what_the_output_needs_is_named_as_in_the_file(user, cli):
    """A class of the script that stays in the model has the name there that it had, wherever --code found it."""
    (user / "script.py").write_text(
        f"{TRAINING}\n\nclass Extra(nn.ReLU):\n    pass\n\n\n"
        "if __name__ == '__main__':\n    torch.save(nn.Sequential(make(), Extra()), 'script.pt')\n"
    )
    assert run("script.py", cwd=user).returncode == 0
    out = cli("fix", "script.pt", "--code", "script.py", "-o", "out.pt")[1]
    assert "what the rest of the model needed: its script (__main__)\n" in out


def test_a_misspelled_class_of_code_leads_to_the_nearest(user, cli):
    assert "did you mean `make`?" in cli("check", "state.pt", "--code", "train.py", "--model", "maek")[2]


def test_a_file_without_a_global_has_none_that_is_known(user, cli):
    pytest.importorskip("safetensors.torch").save_file({"w": torch.ones(2)}, user / "w.safetensors")
    assert "it names no global: it loads without" in cli("inspect", "w.safetensors")[1]


def test_layers_of_torch_are_counted_beside_those_that_were_measured(user, cli):
    model = nn.Sequential(nn.BatchNorm2d(3), nn.LayerNorm(4), FusedBatchNorm2d(3))
    torch.save(model, user / "mixed.pt")
    err = cli("check", "mixed.pt", "--allow", "bnlint.layers", "--input", "2x3x4x4")[2]
    assert "no findings (1 normalization layer measured, 2 more are torch's own)" in err


def test_in_place(user, cli):
    before = hashlib.sha256((user / "model.pt").read_bytes()).hexdigest()
    options = ["--code", "train.py", "--in-place", "--certificate", "proof.json"]
    assert cli("fix", "model.pt", *options, "-q") == (0, "", "")
    certificate = json.loads((user / "proof.json").read_text())
    assert certificate["input"]["sha256"] == before != certificate["output"]["sha256"]
    assert cli("check", "model.pt", "--allow", "bnlint.layers")[0] == 0


@pytest.mark.parametrize("model", [["--model", "train:make"], ["--code", "train.py", "--model", "make"]], ids=len)
def test_a_state_dict_is_copied_and_the_code_named(user, cli, model):
    code, out, _ = cli("fix", "state.pt", *model, "-o", "out.pt", "--certificate", "proof.json")

    said = " ".join(out.split())
    assert code == 0
    assert "no key and no shape changes in the state dict" in said and "state.pt → out.pt: copied" in said
    line = lines_with("class HandNorm")[0] if len(model) == 2 else lines_with("def forward")[0]
    assert f"HandNorm train.py:{line}" in said and "bnlint fix train.py" in said
    assert "model = make(); bnlint.repair(model); model.load_state_dict" in said
    assert (user / "out.pt").read_bytes() == (user / "state.pt").read_bytes()
    certificate = json.loads((user / "proof.json").read_text())
    assert [c["module"] for c in certificate["layers"]] == ["1", "4"]
    assert certificate["input"]["sha256"] == certificate["output"]["sha256"]
    said = " ".join(cli("fix", "state.pt", *model, "--in-place", "--adopt-torch-conventions")[1].split())
    assert "left as it is" in said and "Put BatchNorm2d for HandNorm" in said


def test_the_classes_of_a_notebook_are_taken_from_its_cells(user, cli):
    body = TRAINING.replace("import torch\n", "import torch\n%matplotlib inline\n!pip list\n", 1)
    source = [{"cell_type": "markdown", "source": ["# hello"]}, {"cell_type": "code", "source": body.splitlines(True)}]
    bash = {"cell_type": "code", "source": "%%bash\necho no python"}
    (user / "train.ipynb").write_text(json.dumps({"cells": [*source, bash], "nbformat": 4}))

    code, out, err = cli("check", "model.pt", "--code", "train.ipynb", "--output-format", "concise")
    assert (code, len(out.splitlines())) == (1, 4), err
    lines = [number for number, line in enumerate(body.splitlines(), 1) if ".detach()" in line]
    assert all(f"train.ipynb:cell 2:{line}:" in out for line in lines)
    assert cli("check", "model.pt", "--code", "train.ipynb")[0] == 1
    out = cli("fix", "state.pt", "--code", "train.ipynb", "--model", "make", "-o", "o.pt")[1]
    assert "HandNorm  train.ipynb:cell 2:" in out and "bnlint fix train.ipynb" in " ".join(out.split())
    (user / "bad.ipynb").write_text("[]")
    complains(cli("check", "model.pt", "--code", "bad.ipynb"), "not a notebook")
    complains(cli("check", "model.pt", "--code", "none.ipynb"), "No such file")


def test_a_state_dict_is_checked_with_its_model(user, cli):
    code, out, _ = cli("check", "state.pt", "--model", "train:make", "--output-format", "concise")
    assert (code, len(out.splitlines())) == (1, 4)
    assert cli("check", "state.pt", "--model", "train:make_right")[:2] == (0, "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["check", "train.py", "--model", "train:make"], "--model is for models"),
        (["check", "train:make", "--model", "train:make"], "bnlint check state.pt --model train:make"),
        (["check", "state.pt", "--model", "make"], "there is no --code"),
        (["check", "state.pt", "--code", "train.py", "--model", "mak"], "no class or function `mak` is defined in"),
        (["check", "state.pt", "--model", "train:HandNorm"], "MODULE:FACTORY"),
        (["check", "state.pt", "--model", "torch.nn:Identity"], "no state dict in it fits"),
        (["check", "right.pt", "--model", "train:make"], "leave out --model"),
    ],
)
def test_models_that_do_not_go_with_the_file(user, cli, options, said):
    complains(cli(*options), said)


def test_nothing_to_repair(user, cli):
    code, out, _ = cli("fix", "right.pt", "-o", "repaired.pt", "--certificate", "proof.json")

    assert code == 0 and "nothing" in out
    assert not (user / "repaired.pt").exists()
    certificate = json.loads((user / "proof.json").read_text())
    assert (certificate["output"], certificate["layers"]) == (None, [])


def test_a_factory_is_run_and_measured(user, cli):
    code, out, err = cli("check", "train:make", "--input", "4x3x12x12", "--output-format", "concise")

    assert code == 1
    assert len(out.splitlines()) == 4
    assert all(f"train.py:{line}:" in out for line in lines_with(".detach()"))
    assert "2 normalization layers measured" in err
    assert cli("check", "train:make_right", "--input", "4x3x12x12")[:2] == (0, "")
    assert cli("check", "train:make")[0] == 1  # each layer on its own
    assert cli("check", "train:make", "--exit-zero")[0] == 0


def test_source_and_models_in_one_run(user, cli):
    code, out, _ = cli("check", "train.py", "model.pt", "--code", "train.py", "--output-format", "json")

    findings = json.loads(out)
    assert code == 1
    assert {f["module"] for f in findings} == {None, "1", "4"}


def test_select_and_ignore_hold_for_models(user, cli):
    assert cli("check", "model.pt", "--code", "train.py", "--ignore", "BN101")[:2] == (0, "")
    assert cli("check", "model.pt", "--code", "train.py", "--select", "BN102")[:2] == (0, "")
    complains(cli("check", "model.pt", "--code", "train.py", "--select", "BN999"), "BN999")


def test_a_readable_table(user, cli):
    code, out, err = cli("check", "model.pt", "--code", "train.py")

    assert code == 1
    assert "BN101" in out and "HandNorm" in out
    assert "4 findings" in err


@pytest.mark.parametrize("command", [["check"], ["fix", "-o", "repaired.pt"]], ids=lambda c: c[0])
class TestBadFiles:
    @pytest.mark.parametrize(
        "kind", ["truncated", "empty", "text", "plain", "old", "zip", "torchscript", "junk", "missing"]
    )
    def test_what_is_no_checkpoint(self, tmp_path, monkeypatch, cli, command, kind):
        path = write_bad(tmp_path)[kind]
        monkeypatch.chdir(tmp_path)
        before = files(tmp_path)

        complains(cli(command[0], path.name, *command[1:]), path.name, files_before=before, folder=tmp_path)

    @pytest.mark.parametrize("attack", ATTACKS)
    def test_what_wants_to_run_something(self, tmp_path, monkeypatch, cli, command, attack):
        monkeypatch.chdir(tmp_path)
        write_attack(tmp_path / "evil.pt", attack, tmp_path / "marker")
        before = files(tmp_path)

        complains(cli(command[0], "evil.pt", *command[1:]), "evil.pt", files_before=before, folder=tmp_path)
        assert not (tmp_path / "marker").exists()

    def test_classes_that_nobody_named(self, user, cli, command):
        before = files(user)
        result = cli(command[0], "model.pt", *command[1:])

        complains(result, "__main__.HandNorm", "--code FILE.py", files_before=before, folder=user)

    def test_a_state_dict(self, user, cli, command):
        before = files(user)
        result = cli(command[0], "state.pt", *command[1:])

        complains(result, "state.pt", "state dict", "PKG.MODULE:FACTORY", files_before=before, folder=user)

    @pytest.mark.parametrize("shape", ["3,4", "0x3"])
    def test_a_bad_shape(self, user, cli, command, shape):
        options = ["model.pt", "--code", "train.py", "--input", shape, *command[1:]]
        complains(cli(command[0], *options), "--input", shape, files_before=files(user), folder=user)

    def test_an_input_that_does_not_fit(self, user, cli, command):
        options = ["model.pt", "--code", "train.py", "--input", "2x7x8x8", *command[1:]]
        complains(cli(command[0], *options), "2x7x8x8", "--input", files_before=files(user), folder=user)

    def test_a_device_that_is_not_there(self, user, cli, command):
        options = ["model.pt", "--code", "train.py", "--device", "cuda:77", *command[1:]]
        complains(cli(command[0], *options), files_before=files(user), folder=user)

    def test_code_that_is_not_there_or_no_python(self, user, cli, command):
        (user / "bad.py").write_text("class (:")
        for code in ("absent.py", "bad.py"):
            complains(cli(command[0], "model.pt", "--code", code, *command[1:]), code)


def test_a_refused_layer_leaves_nothing_written(user, cli):
    before = files(user)
    result = cli("fix", "refused.pt", *GIVEN, "-o", "repaired.pt", "--certificate", "proof.json")

    complains(result, "2 of 2 layers", "`relu`", "bnlint fix", files_before=before, folder=user)


def test_without_an_output_nothing_is_touched(user, cli):
    result = cli("fix", "model.pt", "--code", "train.py")

    complains(result, "where to write", "-o model-repaired.pt", files_before=files(user), folder=user)


def test_an_output_that_cannot_be_written(user, cli):
    before = files(user)
    result = cli("fix", "model.pt", *GIVEN, "-o", "absent/repaired.pt")

    complains(result, "absent", files_before=before, folder=user)


def test_two_checkpoints_at_once(user, cli):
    complains(cli("fix", "model.pt", "right.pt", "-o", "r.pt"), "one checkpoint at a time")


def test_factories_are_not_fixed(user, cli):
    complains(cli("fix", "train:make", "-o", "r.pt"), "train:make", "bnlint.repair")


@pytest.mark.parametrize("target", ["train:absent", "absent_module:make", "train:TRAINING"])
def test_factories_that_are_not_there(user, cli, target):
    complains(cli("check", target, "--input", "1x3x8x8"), target)


def test_a_factory_on_inputs_that_do_not_fit(user, cli):
    complains(cli("check", "train:make", "--input", "2x9x8x8"), "2x9x8x8")


def test_what_a_factory_prints_does_not_spoil_json(user, cli):
    (user / "talking.py").write_text(
        "from train import *\nprint('hello')\ndef factory():\n    print('there')\n    return make()\n"
    )

    code, out, _ = cli("check", "talking:factory", "--output-format", "json")

    sys.modules.pop("talking", None)
    assert code == 1 and len(json.loads(out)) == 4


def test_trust_is_loud_and_works(user, cli, monkeypatch):
    (user / "library_of_norms.py").write_text(TRAINING)
    monkeypatch.syspath_prepend(user)
    library_of_norms = importlib.import_module("library_of_norms")

    torch.save(library_of_norms.make(), user / "library.pt")
    code, _, err = cli("check", "library.pt", "--trust")

    del sys.modules["library_of_norms"]
    assert code == 1 and "--trust runs whatever program" in err


# -- inputs, and models that torch compiled


def test_an_assumed_input_is_told_unless_quiet(user, cli):
    told = "assumed inputs: --input 4x3x32x32"
    assert told in cli("check", "train:make")[2]
    assert told not in cli("check", "train:make", "-q")[2]
    assert told not in cli("check", "train:make", "--input", "4x3x12x12")[2]


def test_inputs_come_from_files_and_functions(user, cli):
    torch.save((torch.randn(4, 3, 12, 12),), user / "batch.pt")
    (user / "data.py").write_text("import torch\ndef first():\n    return torch.randn(4, 3, 12, 12)\n")

    for options in (["--input", "batch.pt"], ["--inputs", "data:first"], ["--input", "4x3x12x12:float32"]):
        code, out, err = cli("check", "train:make", *options, "--output-format", "concise")
        assert (code, len(out.splitlines())) == (1, 4), err
    sys.modules.pop("data", None)


def test_a_model_without_normalization_is_clean(user, cli):
    (user / "plain.py").write_text("from torch import nn\ndef make():\n    return nn.Sequential(nn.Linear(3, 2))\n")
    code, out, err = cli("check", "plain:make", "--input", "4x3")
    assert (code, out) == (0, "") and "no normalization found" in err
    assert (
        "2 normalization layers, all of them torch's own" in cli("check", "train:make_right", "--input", "4x3x12x12")[2]
    )
    sys.modules.pop("plain", None)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_archive_is_checked_with_its_lines(user, cli, monkeypatch):
    monkeypatch.syspath_prepend(user)
    made = importlib.import_module("train").make()
    torch.jit.trace(made, torch.randn(4, 3, 12, 12)).save(str(user / "traced.pt"))

    code, out, _ = cli("check", "traced.pt", "--input", "4x3x12x12", "--output-format", "concise")

    assert code == 1 and len(out.splitlines()) == 4
    assert all(f"train.py:{line}:" in out for line in lines_with(".detach()"))


def test_a_report_is_one_page_with_every_layer_the_stop_and_the_fix(user, cli):
    code, out, err = cli("check", "train:make", "--input", "4x3x12x12", "--report", "page.html")
    page = (user / "page.html").read_text(encoding="utf-8")
    assert code == 1 and "BN101" in out and "Traceback" not in err
    assert "2 of 2 normalization layers train with a wrong gradient" in page
    assert page.count('id="layer-') == 2 and page.count("<article") == 2 and page.count("<svg") == 2
    assert '<mark class="stop">.detach()</mark>' in page and "train.py" in page and str(user) not in page
    assert "<del>" in page and "<ins>" in page and "bnlint fix train.py" in page
    assert "--input 4x3x12x12" in page


def test_a_report_on_a_checkpoint_names_its_repair_and_leaves_ignored_rules_out(user, cli):
    arguments = ("check", "model.pt", *GIVEN, "--report", "page.html")
    assert cli(*arguments)[0] == 1
    page = (user / "page.html").read_text(encoding="utf-8")
    assert "bnlint fix model.pt -o model-repaired.pt" in page and "model.pt" in page
    assert cli(*arguments, "--ignore", "BN101")[0] == 0
    page = (user / "page.html").read_text(encoding="utf-8")
    assert "<article" not in page and page.count('id="layer-') == 2
    assert "What was found in 2 normalization layers is ignored" in page and "is right" not in page


def test_a_report_on_a_right_model_says_so(user, cli):
    assert cli("check", "train:make_right", "--input", "4x3x12x12", "--report", "page.html")[0] == 0
    assert "All 2 normalization layers are torch’s own" in (user / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train.py", "--report", "page.html"), "--report is about models"),
        (("model.pt", *GIVEN, "--report", "model.pt"), "--report would be written over this file"),
        (("model.pt", *GIVEN, "--report", "train.py"), "--report would be written over this file"),
        (("model.pt", *GIVEN, "-o", "model.pt"), "-o would be written over this file"),
        (("model.pt", *GIVEN, "--report", "missing/page.html"), "cannot be written"),
        (("model.pt", *GIVEN, "--report", "page.html", "-o", "page.html"), "into one file"),
    ],
)
def test_a_report_that_cannot_be_is_refused_before_anything_is_measured(user, cli, arguments, said):
    before = {path: path.read_bytes() for path in user.iterdir() if path.is_file()}
    code, out, err = cli("check", *arguments)
    assert (code, out) == (2, "") and said in err
    assert {path: path.read_bytes() for path in user.iterdir() if path.is_file()} == before
