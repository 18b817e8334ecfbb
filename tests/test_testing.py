"""`assert_gradients_flow`, as a function and as a fixture of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from stops import batch, net, stop_lines
from torch import nn

from bnlint.errors import InputError
from bnlint.testing import assert_gradients_flow

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "silent_batchnorm"

TESTS = """
import sys

import pytest


def test_torch_is_not_there_yet():
    assert "torch" not in sys.modules


def test_broken(assert_gradients_flow):
    import torch
    from layers import BatchNorm2d_new

    assert_gradients_flow(BatchNorm2d_new(4), torch.randn(8, 4, 5, 5))


def test_right(assert_gradients_flow):
    import torch

    assert_gradients_flow(torch.nn.BatchNorm2d(4), torch.randn(8, 4, 5, 5))
"""


def test_torchs_own_and_a_live_twin_pass() -> None:
    assert_gradients_flow(nn.BatchNorm2d(3), batch())
    assert_gradients_flow(net("live"), batch())
    assert_gradients_flow(net("live"))  # on an assumed input


def test_a_stop_fails_with_the_line_of_the_stop() -> None:
    with pytest.raises(AssertionError) as failure:
        assert_gradients_flow(net("detach"), batch())
    text = str(failure.value)
    assert text.startswith("2 findings in 1 layer of Net, the most harmful first:\n")
    assert all(f"stops.py:{line}:" in text for line in stop_lines("detach"))
    assert "BN101 layer norm: no gradient flows through the mean (detach); gradient error " in text


def test_a_layer_that_is_no_part_of_a_model_is_measured() -> None:
    with pytest.raises(AssertionError, match="BN101"):
        assert_gradients_flow(net("detach").norm, torch.randn(6, 4, 8, 8))


def test_nothing_passes_unmeasured() -> None:
    with pytest.raises(InputError, match="Linear: no normalization was found"):
        assert_gradients_flow(nn.Linear(3, 3), torch.randn(4, 3))
    with pytest.raises(InputError, match="the forward raises"):
        assert_gradients_flow(net("live"), torch.randn(4, 5, 8, 8))


def run_pytest(tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run a user's tests where bnlint is as pip installs it: pytest finds the plugin by its entry point."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    (info := tmp_path / "bnlint_installed-1.dist-info").mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bnlint-installed\nVersion: 1\n", encoding="utf-8")
    plugins = "\n".join(f"{name} = {module}" for name, module in declared["pytest11"].items())
    (info / "entry_points.txt").write_text(f"[pytest11]\n{plugins}\n", encoding="utf-8")
    (tmp_path / "test_norm.py").write_text(TESTS, encoding="utf-8")
    path = os.pathsep.join(map(str, (tmp_path, ROOT, EXAMPLE)))
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", "test_norm.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_fixture_comes_with_the_package_and_torch_with_its_first_use(tmp_path: Path) -> None:
    run = run_pytest(tmp_path)
    assert "1 failed, 2 passed" in run.stdout, run.stdout + run.stderr
    stop = next(n for n, line in enumerate((EXAMPLE / "layers.py").read_text().splitlines(), 1) if ".detach()" in line)
    assert f"layers.py:{stop}:" in run.stdout
    assert "in test_broken" in run.stdout  # the line of the test is what is shown, not bnlint's own
    assert "bnlint/testing.py" not in run.stdout


def test_the_fixture_says_what_to_install_where_torch_is_missing(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import sys\n\nsys.modules['torch'] = None\n", encoding="utf-8")
    run = run_pytest(tmp_path)
    assert "BnlintError: assert_gradients_flow needs torch, which is not installed" in run.stdout, run.stdout
