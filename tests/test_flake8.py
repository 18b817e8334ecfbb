"""The plugin of flake8, run by the real flake8: what it reports is what `bnlint check` finds."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from bnlint.flake8 import Plugin
from bnlint.pages import load_pages
from bnlint.source.check import check_source

pytest.importorskip("flake8")

ROOT = Path(__file__).parents[1]
BAD = "def f(x):\n    return x - x.mean().detach()\n"
AT = ":2:24: BN101"
_LINE = re.compile(r"(.*:\d+:\d+: [A-Z]+\d+) .+")


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A path on which this checkout is installed, with the entry points that pyproject.toml has now."""
    folder = tmp_path_factory.mktemp("site")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    info = folder / "bnlint-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bnlint\nVersion: 0\n")
    listed = "".join(f"{name} = {value}\n" for name, value in points["flake8.extension"].items())
    (info / "entry_points.txt").write_text(f"[flake8.extension]\n{listed}")
    (folder / "sitecustomize.py").write_text("import sys\n\nsys.modules['torch'] = None\n")  # it must not be imported
    return os.pathsep.join((str(folder), str(ROOT)))


class Flake8:
    def __init__(self, folder: Path, path: str) -> None:
        self.folder, self._path = folder, path

    def write(self, name: str, text: str | bytes) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode() if isinstance(text, str) else text)
        return file

    def __call__(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flake8", "--isolated", "-j1", *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": self._path},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def lines(self, *arguments: str, stdin: str = "") -> list[str]:
        done = self("--select", "BN,ACME", *arguments, stdin=stdin)
        assert done.stderr == "" and done.returncode in {0, 1}
        return [match[1] for line in done.stdout.splitlines() if (match := _LINE.fullmatch(line))]


@pytest.fixture
def flake8(tmp_path: Path, installed: str) -> Flake8:
    return Flake8(tmp_path, installed)


def test_it_finds_in_the_rule_pages_what_the_check_finds(flake8: Flake8, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(flake8.folder)
    expected: list[str] = []
    for page in load_pages().values():
        for number, block in enumerate(page.blocks):
            name = f"{page.code}_{number}.py"
            flake8.write(name, block.code)
            expected += [
                f"./{name}:{f.location.line}:{f.location.column}: {f.code}"
                for f in check_source(block.code.encode(), name)
                if f.location is not None and f.code != "BN001"  # flake8 says E999 itself
            ]
    assert len(expected) > 40
    assert sorted(flake8.lines(".")) == sorted(expected)


def test_it_comes_with_flake8_and_can_be_deselected(flake8: Flake8) -> None:
    flake8.write("a.py", BAD)
    assert f"a.py{AT}" in flake8("a.py").stdout
    assert flake8("a.py").returncode == 1
    assert flake8("--extend-ignore", "BN1", "a.py").stdout == ""
    assert "bnlint: " in flake8("--version").stdout


def test_stdin(flake8: Flake8) -> None:
    assert flake8.lines("-", stdin=BAD) == [f"stdin{AT}"]
    assert flake8.lines("--stdin-display-name", "sub/x.py", "-", stdin=BAD) == [f"sub/x.py{AT}"]
    flake8.write("sub/bnlint.toml", 'ignore = ["BN101"]\n')
    assert flake8.lines("--stdin-display-name", "sub/x.py", "-", stdin=BAD) == []


def test_comments_hold(flake8: Flake8) -> None:
    line = BAD.rstrip("\n")
    flake8.write("ours.py", f"{line}  # bnlint: ignore[BN101] meant\n")
    flake8.write("theirs.py", f"{line}  # noqa: BN101\n")
    flake8.write("all.py", f"{line}  # noqa\n")
    flake8.write("unused.py", "x = 1  # bnlint: ignore[BN101]\n")
    assert flake8.lines(".") == ["./unused.py:1:25: BN002"]


def test_the_nearest_configuration_holds(flake8: Flake8) -> None:
    for folder in ("", "sub/", "vendored/"):
        flake8.write(f"{folder}a.py", BAD)
    flake8.write("bnlint.toml", 'exclude = ["vendored/"]\n')
    flake8.write("sub/bnlint.toml", 'ignore = ["BN101"]\n')
    assert flake8.lines(".") == [f"./a.py{AT}"]


def test_rules_of_the_project(flake8: Flake8) -> None:
    docs = (ROOT / "docs" / "vocabulary.md").read_text(encoding="utf-8")
    flake8.write("rules/ACME101-no-freeze.md", docs.split("~~~~markdown\n")[1].split("~~~~")[0])
    flake8.write("bnlint.toml", 'rule-folders = ["rules"]\n')
    flake8.write("a.py", "from acme.ops import freeze\n\n\ndef f(x):\n    return x - freeze(x.mean(0))\n")
    assert flake8.lines("a.py") == ["a.py:5:16: ACME101"]
    assert "ACME101" not in flake8("a.py").stdout
    assert "ACME101" in flake8("--extend-select", "ACME", "a.py").stdout


def test_a_stop_in_another_file_is_told_where_it_is_used(flake8: Flake8) -> None:
    flake8.write("setup.cfg", "")
    flake8.write("helper.py", "\n\ndef center(x):\n    return x.mean().detach()\n")
    flake8.write("a.py", "from helper import center\n\n\ndef f(x):\n    return x - center(x)\n")
    done = flake8("--select", "BN", ".")
    (line,) = done.stdout.splitlines()
    assert line.startswith("./a.py:5:12: BN101 ")
    assert line.endswith("(it stops in helper.py:4)")


def test_a_finding_of_another_file_is_told_once_and_there(flake8: Flake8) -> None:
    flake8.write(
        "norm.py",
        "import torch\n\n\nclass N(torch.nn.Module):\n    def forward(self, x):\n        with torch.no_grad():\n"
        "            m = x.mean(-1, keepdim=True)\n            s = x.std(-1, keepdim=True)\n"
        "        return (x - m) / (s + 1e-6)\n",
    )
    flake8.write(
        "model.py",
        "import torch\nfrom norm import N\n\n\nclass M(torch.nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n        self.norm = N()\n        self.head = torch.nn.Linear(4, 4)\n\n"
        "    def forward(self, x):\n        return self.head(self.norm(x))\n",
    )
    found = [line for line in flake8.lines("model.py", "norm.py") if "BN102" in line]
    assert found == ["norm.py:7:17: BN102", "norm.py:8:17: BN102"]


def test_bytes_of_all_kinds(flake8: Flake8) -> None:
    sources = {
        "bom": b"\xef\xbb\xbf" + BAD.encode(),
        "latin_1": b"# coding: latin-1\n# \xe4\n" + BAD.encode(),
        "crlf": BAD.replace("\n", "\r\n").encode(),
        "letters": "def f(größe):\n    ß = größe; return größe - größe.mean().detach()\n".encode(),
        "form_feed": b"\x0c" + BAD.encode(),
    }
    expected = []
    for name, source in sources.items():
        flake8.write(f"{name}.py", source)
        (finding,) = check_source(source, "a.py")
        assert finding.location is not None
        expected.append(f"./{name}.py:{finding.location.line}:{finding.location.column}: BN101")
    assert sorted(flake8.lines(".")) == sorted(expected)


def test_a_wrong_configuration_is_told_in_one_line(flake8: Flake8) -> None:
    flake8.write("a.py", BAD)
    flake8.write("bnlint.toml", "stopps = []\n")
    done = flake8("a.py")
    assert done.returncode == 1
    assert "unknown key `stopps` (the nearest known key is `stops`)" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_each_run_reads_configuration_and_files_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run() -> list[str]:
        Plugin.parse_options(None)
        found = Plugin(ast.parse(BAD), "a.py", BAD.splitlines(keepends=True)).run()
        return [f"{line}:{column}: {text[:5]}" for line, column, text, _ in found]

    assert run() == ["2:23: BN101"]
    (tmp_path / "bnlint.toml").write_text('ignore = ["BN101"]\n')
    assert run() == []
