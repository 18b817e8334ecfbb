import dataclasses
import inspect
import sys
import textwrap

import pytest
from torch import nn

from bnlint.checkpoint.code import Code, definitions, standing_in
from bnlint.errors import InputError


def write(path, text):
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def test_only_definitions_run(tmp_path):
    marker = tmp_path / "ran"
    path = write(
        tmp_path / "train.py",
        f"""
        '''Train.'''
        from __future__ import annotations
        from dataclasses import dataclass
        from typing import TYPE_CHECKING
        import pathlib
        from torch import nn
        try:
            import not_installed_anywhere
        except ImportError:
            not_installed_anywhere = None
        if TYPE_CHECKING:
            from nowhere import Nothing
        EPS = 1e-5
        SHAPE: tuple = (1, -1)
        Base = nn.BatchNorm2d

        def train():
            pathlib.Path({str(marker)!r}).touch()

        class Norm(Base):
            def forward(self, x):
                return helper(x) * EPS + SHAPE[1]

        def helper(x):
            return x

        @dataclass
        class Config:
            lr: float = 0.1

        train()
        x = train()
        y, z = train(), 1
        for _ in range(2):
            train()
        while train():
            pass
        with open({str(marker)!r}, "w"):
            pass
        if __name__ == "__main__":
            train()
        if True:
            train()
        try:
            train()
        finally:
            pass
        """,
    )
    before, path_before = set(sys.modules), list(sys.path)
    found = definitions(Code(path))
    assert set(found) == {"Norm", "Config"}
    assert not marker.exists()
    assert found["Norm"](3)(2.0) == pytest.approx(2e-5 - 1)
    assert dataclasses.asdict(found["Config"]()) == {"lr": 0.1}
    assert issubclass(found["Norm"], nn.BatchNorm2d)
    assert found["Norm"].__module__ == "train"
    assert "train" not in sys.modules
    assert {name for name in set(sys.modules) - before if not name.startswith("torch")} == set()
    assert sys.path == path_before
    source, line = inspect.getsourcelines(found["Norm"].forward)
    assert inspect.getsourcefile(found["Norm"].forward) == str(path)
    assert source[0] == path.read_text().splitlines(True)[line - 1] == "    def forward(self, x):\n"


def test_modules_beside_the_file_are_found(tmp_path):
    write(tmp_path / "beside_the_code.py", "scale = 3\n")
    path = write(tmp_path / "net.py", "from beside_the_code import scale\nclass Net:\n    scale = scale\n")
    try:
        assert definitions(Code(path))["Net"].scale == 3
    finally:
        sys.modules.pop("beside_the_code", None)


def test_a_file_named_like_a_library_does_not_replace_it(tmp_path):
    path = write(tmp_path / "torch.py", "import torch.nn as nn\nclass Net(nn.Module):\n    pass\n")
    assert issubclass(definitions(Code(path))["Net"], nn.Module)
    assert sys.modules["torch"].nn is nn


@pytest.mark.parametrize(
    ("text", "what", "line"),
    [
        ("class A:\n    x = (\n", "not valid Python", 2),
        ("x = 1\nimport no_such_package.layers\n", "cannot import no_such_package", 2),
        ("from .layers import Norm\n", "relative import", 1),
        ("n = int(3)\nclass A:\n    m = n\n", "'n' is not defined", 3),
        ("import sys\ndef stop(c):\n    sys.exit()\n@stop\nclass A:\n    pass\n", "SystemExit", 3),
        ("\0", "not valid Python", None),
    ],
)
def test_code_that_fails_is_one_clear_error(tmp_path, text, what, line):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(InputError, match=what) as caught:
        definitions(Code(path))
    assert caught.value.where == (f"{path}:{line}" if line else str(path))
    assert "broken" not in sys.modules


def test_a_notebook_is_run_cell_by_cell(tmp_path):
    net = "class Net(nn.Module):\n    def f(self):\n        return 1\nprint(1 / 0)"
    cells = {2: "from torch import nn\npass", 4: net}
    code = definitions(Code(tmp_path / "a.ipynb", cells))["Net"].f.__code__
    assert code.co_filename == f"{tmp_path / 'a.ipynb'}:cell 4" and code.co_firstlineno == 2
    for text, line in (("x = (", 1), ("import os\nclass A:\n    x = undefined", 3)):
        with pytest.raises(InputError) as caught:
            definitions(Code(tmp_path / "a.ipynb", {**cells, 7: text}))
        assert caught.value.where == f"{tmp_path / 'a.ipynb'}:cell 7:{line}"


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        definitions(Code(tmp_path / "absent.py"))


def test_stand_ins_leave_no_trace():
    class Net:
        pass

    home, main = Net.__module__, dict(vars(sys.modules["__main__"]))
    with pytest.raises(KeyError), standing_in({"__main__.Net": Net, "gone.net.Net": Net}):
        assert sys.modules["__main__"].Net is Net
        assert sys.modules["gone.net"].Net is Net
        raise KeyError
    assert Net.__module__ == home
    assert dict(vars(sys.modules["__main__"])) == main
    assert "gone.net" not in sys.modules
