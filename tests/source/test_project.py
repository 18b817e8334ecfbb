"""Statistics that travel through other files of a project: each project is imported, and measured to be as marked."""

from __future__ import annotations

import importlib
import itertools
import re
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import IMPORTS, direction_error

from bnlint.finding import Finding
from bnlint.source.check import check_source
from bnlint.source.files import check_files
from bnlint.source.fixing import fix_files
from bnlint.source.project import Project

_MARK = re.compile(r"#.*\b(BN\d{3})\b")
_COUNT = itertools.count()

CENTER = """
    def center(x):
        with torch.no_grad():
            mean = x.mean((0, 2, 3), keepdim=True)  # BN102
        return mean
"""
LIVE = """
    def center(x):
        return x.mean((0, 2, 3), keepdim=True)
"""
USE = "\n\n    def norm(x):\n        return x - {}(x)\n"

#: project → files; `layer.py` holds `norm`, or a class `Norm`; lines to report are marked
STOPPED = {
    "a function imported from a sibling": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "from .stats import center" + USE.format("center"),
    },
    "a function under another name": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "from pkg.stats import center as middle" + USE.format("middle"),
    },
    "a function that is wrapped": {
        "stats.py": CENTER + "\n\n    middle = torch.compile(center, backend='eager')\n",
        "layer.py": "from stats import middle" + USE.format("middle"),
    },
    "a module imported whole": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "import pkg.stats" + USE.format("pkg.stats.center"),
    },
    "a module under another name": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "import pkg.stats as s" + USE.format("s.center"),
    },
    "a module imported from its package": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "from . import stats" + USE.format("stats.center"),
    },
    "a package above": {
        "pkg/__init__.py": "",
        "pkg/math/__init__.py": "",
        "pkg/math/stats.py": CENTER,
        "pkg/nn/__init__.py": "",
        "pkg/nn/layer.py": "from ..math.stats import center" + USE.format("center"),
    },
    "scripts side by side": {
        "stats.py": CENTER,
        "layer.py": "import stats" + USE.format("stats.center"),
    },
    "a folder without __init__": {
        "setup.cfg": "",
        "tools/stats.py": CENTER,
        "nets/layer.py": "from tools.stats import center" + USE.format("center"),
    },
    "an import inside the function": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "def norm(x):\n        from .stats import center\n\n        return x - center(x)\n",
    },
    "handed on by a package": {
        "pkg/__init__.py": "",
        "pkg/ops/__init__.py": "from .stats import center as middle",
        "pkg/ops/stats.py": CENTER,
        "pkg/layer.py": "from .ops import middle" + USE.format("middle"),
    },
    "handed on by a star": {
        "pkg/__init__.py": "",
        "pkg/ops/__init__.py": "from .stats import *",
        "pkg/ops/stats.py": '\n    __all__ = ["center"]\n' + CENTER,
        "pkg/layer.py": "from pkg.ops import center" + USE.format("center"),
    },
    "imported by a star": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": "from .stats import *" + USE.format("center"),
    },
    "three files deep": {
        "pkg/__init__.py": "",
        "pkg/a.py": CENTER,
        "pkg/b.py": "from .a import center\n\n    def second(x):\n        return center(x) * 1.0\n",
        "pkg/c.py": "from . import b\n\n    def third(x):\n        return b.second(x)\n",
        "pkg/layer.py": "from .c import third" + USE.format("third"),
    },
    "files that import each other": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER
        + """

    def scaled(x):
        from .layer import eps

        return x / (x.std() + eps(x))
""",
        "pkg/layer.py": """
    from .stats import center

    def eps(x):
        return 1e-5

    def norm(x):
        return x - center(x)
""",
    },
    "centered and used elsewhere": {
        "pkg/__init__.py": "",
        "pkg/helpers.py": """
    def center(x):
        with torch.no_grad():
            middle = x.mean(0, keepdim=True)  # BN102
            middle = middle.mean((2, 3), keepdim=True)
        return middle

    def congruence(x, m):
        return x - m
""",
        "pkg/layer.py": """
    from pkg import helpers

    class Norm(nn.Module):
        def forward(self, x):
            m = helpers.center(x)
            return helpers.congruence(x, m)
""",
    },
    "stopped here, computed there": {
        "pkg/__init__.py": "",
        "pkg/stats.py": LIVE,
        "pkg/layer.py": """
    from .stats import center

    def norm(x):
        m = center(x).detach()  # BN101
        return x - m
""",
    },
    "normalized there": {
        "pkg/__init__.py": "",
        "pkg/ops.py": """
    def scale(x, mean, var):
        return (x - mean) / (var + 1e-5).sqrt()
""",
        "pkg/layer.py": """
    from .ops import scale

    def norm(x):
        return scale(x, x.mean((0, 2, 3), keepdim=True).detach(), x.var((0, 2, 3), keepdim=True))  # BN101
""",
    },
    "a method of a base class": {
        "pkg/__init__.py": "",
        "pkg/base.py": """
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))
            self.register_buffer("kept", torch.zeros(1, 3, 1, 1))

        def statistics(self, x):
            mean = x.mean((0, 2, 3), keepdim=True).detach()  # BN101
            self.kept = mean
            return mean, x.var((0, 2, 3), keepdim=True)
""",
        "pkg/layer.py": """
    from . import base

    class Norm(base.Base):
        def forward(self, x):
            mean, var = self.statistics(x)
            return (x - mean) / (var + 1e-5).sqrt() * self.gain
""",
    },
    "a forward lent by a base class": {
        "pkg/__init__.py": "",
        "pkg/base.py": """
    def apart(x, mean):
        return x - mean

    class Root(nn.Module):
        def forward(self, x):
            return apart(x, self.middle(x))

    class Base(Root):
        pass
""",
        "pkg/layer.py": """
    from pkg.base import Base

    class Norm(Base):
        def middle(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101
""",
    },
    "super": {
        "pkg/__init__.py": "",
        "pkg/base.py": """
    class Base(nn.Module):
        def middle(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101
""",
        "pkg/layer.py": """
    from pkg.base import Base as Root

    class Norm(Root):
        def middle(self, x):
            return super().middle(x)

        def forward(self, x):
            return x - self.middle(x)
""",
    },
    "an object of a class": {
        "pkg/__init__.py": "",
        "pkg/parts.py": """
    SHIFT = 0.0

    class Statistics(nn.Module):
        def forward(self, x):
            mean = x.mean((0, 2, 3), keepdim=True)
            return mean.detach() + SHIFT  # BN101
""",
        "pkg/layer.py": """
    from . import parts
    from .parts import Statistics

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = Statistics()
            self.second = parts.Statistics()

        def forward(self, x):
            return x - self.second(x)
""",
    },
    "an object made of an object": {
        "pkg/__init__.py": "",
        "pkg/inner.py": """
    class Inner(nn.Module):
        def forward(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()  # BN101
""",
        "pkg/outer.py": """
    from .inner import Inner

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()

        def forward(self, x):
            return self.inner(x)
""",
        "pkg/layer.py": """
    from .outer import Outer

    class Norm(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Outer()

        def forward(self, x):
            return x - self.part(x)
""",
    },
    "a function made elsewhere": {
        "pkg/__init__.py": "",
        "pkg/make.py": """
    STEP = 1.0

    def maker(power):
        def middle(x):
            return x.mean((0, 2, 3), keepdim=True).detach() * STEP  # BN101

        return middle
""",
        "pkg/layer.py": """
    from .make import maker

    STEP = None

    def norm(x):
        return x - maker(1)(x)
""",
    },
    "a table of functions": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER,
        "pkg/layer.py": """
    from .stats import center

    TABLE = {"center": center}

    def norm(x):
        return x - TABLE["center"](x)
""",
    },
    "a table elsewhere": {
        "pkg/__init__.py": "",
        "pkg/stats.py": CENTER + '\n\n    TABLE = {"center": center}\n',
        "pkg/layer.py": """
    from .stats import TABLE

    def norm(x):
        return x - TABLE["center"](x)
""",
    },
}

#: these are right, or their imports lead elsewhere; nothing is reported
RIGHT = {
    "a live helper": {
        "pkg/__init__.py": "",
        "pkg/stats.py": LIVE,
        "pkg/layer.py": "from .stats import center" + USE.format("center"),
    },
    "the live one of two": {
        "pkg/__init__.py": "",
        "pkg/stats.py": LIVE + CENTER.replace("center", "other").replace("BN102", ""),
        "pkg/layer.py": "from .stats import center, other" + USE.format("center"),
    },
    "a name of the other file": {
        "pkg/__init__.py": "",
        "pkg/stats.py": LIVE
        + "\n\n    def middle(x):\n        return finish(center(x))\n\n    finish = nn.Identity()\n",
        "pkg/layer.py": """
    from .stats import middle

    def finish(x):
        return x.detach()

    def norm(x):
        return x - middle(x)
""",
    },
    "overridden here": {
        "pkg/__init__.py": "",
        "pkg/base.py": """
    class Base(nn.Module):
        def middle(self, x):
            return x.mean((0, 2, 3), keepdim=True).detach()

        def forward(self, x):
            return x.mul(2)
""",
        "pkg/layer.py": """
    from pkg.base import Base

    class Norm(Base):
        def middle(self, x):
            return x.mean((0, 2, 3), keepdim=True)

        def forward(self, x):
            return x - self.middle(x)
""",
    },
    "a buffer of a base class": {
        "pkg/__init__.py": "",
        "pkg/base.py": """
    class Base(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kept", torch.zeros(1, 3, 1, 1))
""",
        "pkg/layer.py": """
    from pkg.base import Base

    class Norm(Base):
        def forward(self, x):
            mean = x.mean((0, 2, 3), keepdim=True)
            self.kept = mean.detach()
            return x - mean
""",
    },
}


def written(files: dict[str, str], folder: Path) -> list[Path]:
    """Write a project; each Python file but the empty ones starts with the imports of torch."""
    paths: list[Path] = []
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(IMPORTS + textwrap.dedent("    " + text.strip("\n ")) + "\n" if text else "")
        paths += [path] if path.suffix == ".py" else []
    return paths


def marks(paths: list[Path]) -> list[tuple[str, int, str]]:
    """The places that a project marks."""
    return sorted(
        (path.name, number, code)
        for path in paths
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for code in _MARK.findall(line)
    )


def places(findings: tuple[Finding, ...] | list[Finding]) -> list[tuple[str, int, str]]:
    """Where gradients are stopped; what is said of the formula is not of interest here."""
    stops = [f for f in findings if not f.code.startswith(("BN2", "BN3"))]
    return [(Path(f.location.path).name, f.location.line, f.code) for f in stops if f.location is not None]


@pytest.fixture
def imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the projects in the folder of the test be imported, and forget them after it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        # A package without an `__init__.py` has no file.
        if str(tmp_path) in f"{getattr(module, '__file__', '')}{list(getattr(module, '__path__', ()))}":
            del sys.modules[name]


def measured(paths: list[Path], folder: Path) -> float:
    layer = next(path for path in paths if path.name == "layer.py")
    module = importlib.import_module(".".join(layer.relative_to(folder).with_suffix("").parts))
    return direction_error(module.Norm().double() if hasattr(module, "Norm") else module.norm)


@pytest.mark.parametrize("files", STOPPED.values(), ids=STOPPED.keys())
def test_a_stop_in_another_file_is_reported_there_once(files: dict[str, str], tmp_path: Path) -> None:
    paths = written(files, tmp_path)
    assert places(check_files(paths).findings) == marks(paths)
    layer = next(path for path in paths if path.name == "layer.py")
    assert places(check_files([layer]).findings) == marks(paths)


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("files", (STOPPED | RIGHT).values(), ids=(STOPPED | RIGHT).keys())
def test_autograd_agrees_with_the_marks(files: dict[str, str], tmp_path: Path) -> None:
    paths = written(files, tmp_path)
    assert (measured(paths, tmp_path) > 1e-4) == bool(marks(paths))


@pytest.mark.parametrize("files", RIGHT.values(), ids=RIGHT.keys())
def test_a_project_that_is_right_is_silent(files: dict[str, str], tmp_path: Path) -> None:
    assert check_files(written(files, tmp_path)).findings == ()


def shared(tmp_path: Path, stats: str = CENTER) -> list[Path]:
    use = "from .stats import center" + USE.format("center")
    return written({"pkg/__init__.py": "", "pkg/a.py": use, "pkg/b.py": use, "pkg/stats.py": stats}, tmp_path)


def test_two_files_that_share_a_helper_find_its_stop_once(tmp_path: Path) -> None:
    paths = shared(tmp_path)
    (finding,) = check_files(paths).findings
    assert finding.location is not None
    assert (finding.location.path, finding.symbol) == (str(tmp_path / "pkg/stats.py"), "norm")
    assert {Path(mark.location.path).name for mark in finding.marks} == {"stats.py", "a.py"}


def test_without_a_project_an_import_leads_nowhere(tmp_path: Path) -> None:
    for path in shared(tmp_path):
        assert check_source(path.read_bytes(), str(path)) == []


@pytest.mark.parametrize(
    "comment", ["# bnlint: ignore[BN102] meant", "# noqa: BN102"], ids=["a comment of ours", "a noqa"]
)
def test_a_comment_holds_in_the_file_of_the_stop(tmp_path: Path, comment: str) -> None:
    assert check_files(shared(tmp_path, CENTER.replace("# BN102", comment))).findings == ()


def test_a_comment_for_the_file_holds_in_the_file_of_the_stop(tmp_path: Path) -> None:
    for text, count in (("# bnlint: ignore-file[BN102] meant", 0), ("# bnlint: ignore-file[BN101] other", 1)):
        findings = check_files(shared(tmp_path, f"{text}\n{CENTER}")).findings
        assert [f.code for f in findings if f.code != "BN002"] == ["BN102"] * count


def test_a_comment_in_the_file_of_the_use_does_not_hold(tmp_path: Path) -> None:
    paths = shared(tmp_path)
    paths[1].write_text(paths[1].read_text() + "# bnlint: ignore-file[BN102] not here\n")
    assert len(check_files(paths).findings) == 1


def test_a_stop_that_its_own_file_finds_too_keeps_its_fix(tmp_path: Path) -> None:
    stats = """
    def center(x):
        return x.mean(0).detach()  # BN101

    def norm(x):
        return x - center(x)
"""
    paths = shared(tmp_path, stats)
    (finding,) = check_files(paths).findings
    assert finding.fix is not None
    assert {edit.location.path for edit in finding.fix.edits} == {str(tmp_path / "pkg/stats.py")}


@pytest.mark.parametrize("files", STOPPED.values(), ids=STOPPED.keys())
def test_a_fix_changes_only_the_file_that_it_is_found_in(files: dict[str, str], tmp_path: Path) -> None:
    paths = written(files, tmp_path)
    marked = {name for name, _, _ in marks(paths)}
    for file in fix_files(paths, lambda _: True, write=True):
        edits = [edit for finding in file.findings if finding.fix for edit in finding.fix.edits]
        assert {edit.location.path for edit in edits} <= {str(file.path)}
        assert (file.before != file.after) == bool(edits)
        assert file.before == file.after or file.path.name in marked
    left = [finding for finding in check_files(paths).findings if finding.fix is not None]
    assert left == []


def test_a_finding_in_a_shared_file_is_left_once(tmp_path: Path) -> None:
    fixed = fix_files(shared(tmp_path), lambda _: True, write=False)
    assert [len(file.left) for file in fixed] == [0, 1, 0, 0]


def test_what_was_looked_at_in_other_files_can_be_told(tmp_path: Path) -> None:
    paths = shared(tmp_path)
    project = Project(paths)
    package = tmp_path / "pkg"
    for path in paths:
        check_source(path.read_bytes(), str(path), project)
    assert str(package / "stats.py") in project.looked_at(package / "a.py")
    assert str(package / "a.py") not in {*project.looked_at(package / "a.py"), *project.looked_at(package / "stats.py")}
    assert str(package / "b.py") not in project.looked_at(package / "a.py")


def test_a_file_that_is_not_there_is_told_too(tmp_path: Path) -> None:
    (path,) = written({"layer.py": "from stats import center" + USE.format("center")}, tmp_path)
    project = Project([path])
    check_source(path.read_bytes(), str(path), project)
    absent = (tmp_path / "stats.py", tmp_path / "stats" / "__init__.py")
    assert project.looked_at(path).keys() >= {str(file) for file in absent}


def test_the_order_of_the_files_does_not_matter(tmp_path: Path) -> None:
    for number, files in enumerate(STOPPED.values()):
        paths = written(files, tmp_path / str(number))
        found, turned = (check_files(order).findings for order in (paths, paths[::-1]))
        assert sorted(places(found)) == sorted(places(turned))


@pytest.mark.parametrize(
    ("dotted", "leads_to"),
    [
        (".stats.center", ("pkg/stats.py", "center")),
        ("pkg.stats.center", ("pkg/stats.py", "center")),
        ("pkg.stats", ("pkg/stats.py", "")),
        (".stats", ("pkg/stats.py", "")),
        ("pkg.middle", ("pkg/stats.py", "center")),
        (".middle", ("pkg/stats.py", "center")),
        ("pkg.sub", ("pkg/sub/__init__.py", "")),
        ("pkg", ("pkg/__init__.py", "")),
        (".twice.twice", ("pkg/twice.py", "twice")),
        ("pkg.twice", ("pkg/twice.py", "twice")),  # the package hands the function on, under the name of its module
        (".around", None),
        (".stats.missing", None),
        ("..stats.center", None),
        ("statistics.mean", None),  # the standard library's, though a file has its name
        ("torch.mean", None),  # installed, not of the project
        (".....stats.center", None),
        ("", None),
    ],
)
def test_what_a_path_leads_to(tmp_path: Path, dotted: str, leads_to: tuple[str, str] | None) -> None:
    for name, text in {
        "pyproject.toml": "",
        "statistics.py": "def mean(x): return x\n",
        "pkg/__init__.py": "from .stats import center as middle\nfrom .twice import twice\nfrom . import around\n",
        "pkg/stats.py": "def center(x): return x\n",
        "pkg/twice.py": "def twice(x): return x\n",
        "pkg/sub/__init__.py": "",
        "pkg/layer.py": "",
        "site-packages/torch/__init__.py": "def mean(x): return x\n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = Project().find(tmp_path / "pkg/layer.py", dotted)
    assert (found and (found.file, found.name)) == (leads_to and (tmp_path / leads_to[0], leads_to[1]))


def test_an_installed_package_sees_itself_and_no_other(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / "site-packages" / name).mkdir(parents=True)
        (tmp_path / "site-packages" / name / "__init__.py").write_text("")
        (tmp_path / "site-packages" / name / "stats.py").write_text("def center(x): return x\n")
    layer = tmp_path / "site-packages" / "mine" / "layer.py"
    assert Project().find(layer, "mine.stats.center") is not None
    assert Project().find(layer, ".stats.center") is not None
    assert Project().find(layer, "other.stats.center") is None


@pytest.mark.parametrize("broken", [b"def center(x:\n", b"\x00", b"\xff", b"x = 1\n" * 200_000, b"(" * 5000])
def test_a_broken_file_is_one_that_nothing_is_known_of(tmp_path: Path, broken: bytes) -> None:
    paths = shared(tmp_path)
    paths[3].write_bytes(broken)
    assert check_files(paths[:3]).findings == ()


def test_paths_are_told_as_they_were_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared(tmp_path)
    monkeypatch.chdir(tmp_path / "pkg")
    for named in ("a.py", "../pkg/a.py", str(tmp_path / "pkg/a.py")):
        (finding,) = check_files([Path(named)]).findings
        assert finding.location is not None
        assert finding.location.path == "stats.py"
        (finding,) = check_files([Path(named), Path("../pkg/stats.py")]).findings
        assert finding.location is not None
        assert finding.location.path == "../pkg/stats.py"


def test_packages_that_hand_on_all_of_each_other_take_no_time(tmp_path: Path) -> None:
    stars = {f"pkg/m{i}.py": "\n    ".join(f"from .m{k} import *" for k in range(14)) for i in range(14)}
    files = {"pkg/__init__.py": "", "pkg/stats.py": CENTER, **stars, "pkg/m7.py": "from .stats import *"}
    paths = written(files | {"pkg/layer.py": "from .m0 import *" + USE.format("center")}, tmp_path)
    project = Project(paths)
    started = time.process_time()
    assert project.find(tmp_path / "pkg/layer.py", ".m0.center") is not None
    assert project.find(tmp_path / "pkg/layer.py", ".m0.missing") is None
    assert time.process_time() - started < 5
    assert places(check_files(paths).findings) == marks(paths)
