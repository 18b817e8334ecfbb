"""Definitions in the branches of blocks at the top level: `try: import … except ImportError: def …`."""

from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.source.check import check_source
from bnlint.source.outline import outline
from bnlint.source.project import Project

NORM = "class Norm(nn.Module):\n    def forward(self, x):\n        m = x.mean(0)\n        return x - m.detach()\n"
FUNCTION = "def center(x):\n    m = x.mean(0)\n    return x - m.detach()\n"


def indented(text: str, by: str = "    ") -> str:
    return "".join(f"{by}{line}\n" if line else "\n" for line in text.splitlines())


OTHER = "def other(x):\n    return x\n\n\n"
SCRIPTED = "@torch.jit.script\n" + FUNCTION
FILES = {
    "except": f"try:\n    from apex import Norm\nexcept ImportError:\n{indented(NORM)}",
    "try": f"try:\n    import fast\n\n{indented(NORM)}except ImportError:\n    fast = None\n",
    "else": f"if torch.cuda.is_available():\n    from fast import Norm\nelse:\n\n{indented(NORM)}",
    "if": f"if True:\n{indented(FUNCTION)}",
    "behind another": f"if True:\n{indented(OTHER + FUNCTION)}\n\nLAST = 1\n",
    "tabs": "if True:\n" + indented(FUNCTION, "\t"),
    "decorated": f"if True:\n{indented(SCRIPTED)}",
    "in a block in a block": f"try:\n    pass\nfinally:\n    if True:\n{indented(indented(FUNCTION))}",
    "with": f"with warnings.catch_warnings():\n{indented(FUNCTION)}",
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("rest", ["", "\n\ndef last(x):\n    return x.relu()\n"])
def test_a_definition_in_a_branch_is_checked(text: str, rest: str) -> None:
    source = f"import warnings\nimport torch\nfrom torch import nn\n\n{text}{rest}"
    compile(source, "a.py", "exec")
    (finding,) = check_source(source.encode(), "a.py")
    assert finding.code == "BN101"
    assert finding.location is not None
    lines = source.splitlines()
    assert lines[finding.location.line - 1].lstrip() == "return x - m.detach()"


def test_a_right_definition_in_a_branch_is_left_alone() -> None:
    source = f"from torch import nn\n\ntry:\n    import fast\nexcept ImportError:\n{indented(NORM)}"
    assert check_source(source.replace("m.detach()", "m").encode(), "a.py") == []


def test_a_helper_in_a_branch_of_another_file_is_followed(tmp_path: Path) -> None:
    helper = "def stopped(x):\n    return x.mean(0).detach()\n"
    (tmp_path / "stats.py").write_text(f"try:\n    from fast import stopped\nexcept ImportError:\n{indented(helper)}")
    file = tmp_path / "norm.py"
    file.write_text("from stats import stopped\n\n\ndef center(x):\n    return x - stopped(x)\n")
    findings = check_source(file.read_bytes(), str(file), Project([file]))
    assert [finding.code for finding in findings] == ["BN101"]


def test_what_stands_behind_a_block_is_no_part_of_what_is_defined_in_it() -> None:
    text = f"if True:\n{indented(OTHER)}def b(x):\n    return x.mean()\n\n\nc = d(b)\n"
    names = {unit.name: unit.names for unit in outline(text).units}
    assert names.keys() >= {"other", "b"}
    assert "mean" not in names["other"]
    assert "mean" in names["b"]
