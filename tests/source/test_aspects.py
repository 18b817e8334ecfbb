"""What a check rests on in other files: after any change, a run with the cache says what one without it says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnlint.source.aspects import seen
from bnlint.source.definitions import Read
from bnlint.source.files import CheckedFiles, check_files
from bnlint.source.outline import outline
from bnlint.source.text import SourceText

CENTERS = (
    "def center(x):\n    return x.mean(0)\n",
    "def center(x):\n    return x.mean(0).detach()\n",
    "def center(x):\n    return _cut(x.mean(0))\n",
    "def center(x):\n    return Base().stat(x)\n",
    "def center(x):\n    return x\n",
    "center = lambda x: _cut(x.mean(0))\n",
    "",
)
CUTS = (
    "def _cut(x):\n    return x.detach()\n",
    "def _cut(x):\n    return x\n",
    "def _cut(x):\n    with torch.no_grad():\n        return x + EPS\n",
    "",
)
BASES = (
    "class Base:\n    def stat(self, x):\n        return x.mean(0).detach()\n",
    "class Base:\n    def stat(self, x):\n        return self.one(x)\n"
    "    def one(self, x):\n        return _cut(x.mean(0))\n",
    "class Base(Above):\n    pass\n",
    "class Base:\n    def other(self, x):\n        return x\n",
    "",
)
ABOVE = (
    "class Above:\n    def stat(self, x):\n        return x.mean(0).detach()\n",
    "class Above:\n    def stat(self, x):\n        return x.mean(0)\n",
    "",
)
IMPORTS = (
    "",
    "from .other import *\n",
    "from .other import center, _cut\n",
    "from .other import Base\n",
    "from . import other\n",
)
BESIDE = ("", "# a comment\n\n\n", "def unrelated(x):\n    return x.sum().item()\n", "import math\n", "EPS = 1\n")
EXPORTS = ("", "__all__ = ['center']\n", "__all__ = ['Base', 'center']\n")

SLOTS = {
    "stats.py": (IMPORTS, EXPORTS, BESIDE, CENTERS, BESIDE, CUTS, ABOVE, BASES),
    "other.py": (EXPORTS, BESIDE, CENTERS, BESIDE, CUTS, ABOVE, BASES),
    "facade/__init__.py": (
        ("from ..stats import *\n", "from ..stats import center, Base\n", "from .. import stats\n"),
    ),
}
PROJECT = st.fixed_dictionaries({name: st.tuples(*map(st.sampled_from, slots)) for name, slots in SLOTS.items()})
CHANGE = st.one_of(
    st.tuples(st.just(name), st.just(place), st.sampled_from(slot))
    for name, slots in SLOTS.items()
    for place, slot in enumerate(slots)
)
USES = {
    "__init__.py": "",
    "by_name.py": "from .facade import center\n\ndef f(x):\n    return x - center(x)\n",
    "by_module.py": "from . import stats\n\ndef f(x):\n    return x - stats.center(x)\n",
    "by_star.py": "from .facade import *\n\ndef f(x):\n    return x - center(x)\n",
    "by_base.py": "from .facade import Base\n\n"
    "class Layer(Base):\n    def forward(self, x):\n        return x - self.stat(x)\n",
    "by_object.py": "from .stats import Base\n\ndef f(x):\n    return x - Base().stat(x)\n",
    "other_module.py": "from .facade import stats\n\ndef f(x):\n    return x - stats.other.center(x)\n",
}


def write(folder: Path, files: Mapping[str, str]) -> list[Path]:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (1_000_000_000, 1_000_000_000))  # what changes during a run is not kept
    return sorted(folder.rglob("*.py"))


def said(checked: CheckedFiles) -> list[str]:
    return [f"{finding.location} {finding.code} {finding.message}" for finding in checked.findings]


@settings(max_examples=12, deadline=None)
@given(project=PROJECT, changes=st.lists(CHANGE, min_size=10, max_size=10))
def test_a_run_with_a_cache_says_what_one_without_says(
    project: dict[str, tuple[str, ...]], changes: list[tuple[str, int, str]]
) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder, kept = Path(made) / "pkg", Path(made) / "kept"
        files = USES | {name: f"import torch\n{''.join(parts)}" for name, parts in project.items()}
        check_files(write(folder, files), cache_folder=kept)
        for name, place, text in changes:
            parts = project[name]
            project[name] = (*parts[:place], text, *parts[place + 1 :])
            write(folder, {name: f"import torch\n{''.join(project[name])}"})
            paths = sorted(folder.rglob("*.py"))
            assert said(check_files(paths, cache_folder=kept)) == said(check_files(paths))


def checked_again(tmp_path: Path, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The files that are checked once more after a change."""
    paths, kept, again = write(tmp_path / "pkg", {"__init__.py": ""} | before), tmp_path / "kept", list[str]()
    check_files(paths, cache_folder=kept)
    write(tmp_path / "pkg", after)
    check_files(paths, lambda path: again.append(path.name), kept)
    check_files(paths, lambda path: pytest.fail(f"{path} is not kept"), kept)
    return again


STATS = """import torch

def center(x):
    return cut(x.mean(0))

def cut(x):
    return x + 1

def beside(x):
    return x
"""


@pytest.mark.parametrize(
    ("after", "again"),
    [
        (STATS.replace("import torch", "# it moves\n\nimport torch\nimport math"), []),
        (STATS.replace("return x\n", "return x.sum().item()\n"), []),
        (STATS + "\ndef more(x):\n    return x.mean().detach()\n", []),
        (STATS.replace("+ 1", "+ 2"), []),
        (STATS.replace("+ 1", "+ 1 - x.mean()"), ["by_name.py"]),
        (STATS.replace("cut(x):", "other(x):"), ["by_name.py"]),
    ],
    ids=["lines move", "another function", "a new function", "no flow to follow", "a statistic", "a name"],
)
def test_only_what_was_looked_at_counts(tmp_path: Path, after: str, again: list[str]) -> None:
    before = {"stats.py": STATS, "by_name.py": USES["by_name.py"].replace("facade", "stats"), "aside.py": "x = 1\n"}
    assert checked_again(tmp_path, before, {"stats.py": after}) == [*again, "stats.py"]


def test_a_new_function_beside_those_that_are_handed_on_changes_nothing(tmp_path: Path) -> None:
    model = "from .stats import *\n\n__all__ = ['f']\n\ndef f(x):\n    return x - center(x)\n"
    package = {"stats.py": STATS, "models.py": "from .a import *\nfrom .b import *\n", "a.py": model, "b.py": model}
    use = "from .models import f\n\ndef g(x):\n    return f(x.mean(0)).detach() + x\n"
    again = checked_again(
        tmp_path, package | {"use.py": use}, {"a.py": f"import math\n{model}\ndef g(x):\n    return x\n"}
    )
    assert again == ["a.py"]


def test_where_a_finding_stands_counts(tmp_path: Path) -> None:
    stats = STATS.replace("x + 1", "x.detach()")
    use = USES["by_name.py"].replace("facade", "stats")
    assert "by_name.py" in checked_again(tmp_path, {"stats.py": stats, "by_name.py": use}, {"stats.py": f"\n{stats}"})


LIVE = "def center(x):\n    return x.mean(0)\n"
STOPPED = "def center(x):\n    return x.mean(0).detach()\n"
CUT_LATER = "import torch\n\ndef center(x):\n    return cut(x.mean(0))\n"
CUT = "def cut(x):\n    return x.detach()\n"
NO_CUT = "def cut(x):\n    return x\n"
OBJECT = USES["by_object.py"]
TWO = f"{ABOVE[0]}{ABOVE[1].replace('Above', 'Top')}"
HAND_ON = "from .stats import Base\n"
CHANGES = {
    "what a file defines": (
        {"stats.py": "", "facade.py": "from .stats import *\n", "use.py": USES["by_star.py"]},
        {"stats.py": STOPPED},
    ),
    "what it imports by a star": (
        {"stats.py": STOPPED, "facade.py": "", "use.py": USES["by_name.py"]},
        {"facade.py": "from .stats import *\n"},
    ),
    "what a module imports by a star": (
        {"other.py": STOPPED, "stats.py": "", "use.py": USES["by_module.py"]},
        {"stats.py": "from .other import *\n"},
    ),
    "a definition that was not there": ({"facade.py": "", "use.py": USES["by_name.py"]}, {"facade.py": STOPPED}),
    "the order of bases": (
        {"stats.py": f"{TWO}class Base(Top, Above):\n    pass\n", "facade.py": HAND_ON, "use.py": USES["by_base.py"]},
        {"stats.py": f"{TWO}class Base(Above, Top):\n    pass\n"},
    ),
    "what it exports": (
        {"stats.py": f"__all__ = []\n{STOPPED}", "facade.py": "from .stats import *\n", "use.py": USES["by_name.py"]},
        {"stats.py": f"__all__ = ['center']\n{STOPPED}"},
    ),
    "from where it imports": (
        {"a.py": LIVE, "b.py": STOPPED, "facade.py": "from .a import center\n", "use.py": USES["by_name.py"]},
        {"facade.py": "from .b import center\n"},
    ),
    "what hides an import": (
        {"a.py": STOPPED, "facade.py": f"from .a import center\n{LIVE}", "use.py": USES["by_name.py"]},
        {"facade.py": "from .a import center\n"},
    ),
    "the base of a class": (
        {"stats.py": f"{TWO}class Base(Top):\n    pass\n", "use.py": OBJECT},
        {"stats.py": f"{TWO}class Base(Above):\n    pass\n"},
    ),
    "the methods of a class": (
        {"stats.py": f"{BASES[3]}", "use.py": OBJECT},
        {"stats.py": f"{BASES[3]}{BASES[0].partition(chr(10))[2]}"},
    ),
    "the methods of a base": (
        {"stats.py": BASES[3], "facade.py": HAND_ON, "use.py": USES["by_base.py"]},
        {"stats.py": BASES[0]},
    ),
    "what a name in a function is imported from": (
        {"a.py": NO_CUT, "b.py": CUT, "facade.py": f"from .a import cut\n{CUT_LATER}", "use.py": USES["by_name.py"]},
        {"facade.py": f"from .b import cut\n{CUT_LATER}"},
    ),
    "what a name in a function is": (
        {"facade.py": CUT_LATER, "use.py": USES["by_name.py"]},
        {"facade.py": f"{CUT_LATER}\n{CUT}"},
    ),
    "a function that is called by the one that is called": (
        {"facade.py": f"{CUT_LATER}\n{NO_CUT}", "use.py": USES["by_name.py"]},
        {"facade.py": f"{CUT_LATER}\n{CUT}"},
    ),
    "which names a function mentions": (
        {"facade.py": f"{CUT_LATER.replace('cut', 'keep')}\n{CUT}", "use.py": USES["by_name.py"]},
        {"facade.py": f"{CUT_LATER}\n{CUT}"},
    ),
    "whether that is a statistic": (
        {"facade.py": "def center(x):\n    return mean(x).detach()\n", "use.py": USES["by_name.py"]},
        {"facade.py": "def center(x):\n    return x.mean().detach()\n"},
    ),
    "whether that is a stop": (
        {"facade.py": "def center(x):\n    return detach(x.mean())\n", "use.py": USES["by_name.py"]},
        {"facade.py": "def center(x):\n    return x.mean().detach()\n"},
    ),
    "what a function gives back": (
        {
            "facade.py": "def center(x):\n    y, m = x.detach(), x.mean(0)\n    return m\n",
            "use.py": USES["by_name.py"],
        },
        {"facade.py": "def center(x):\n    y, m = x, x.mean(0).detach()\n    return m\n"},
    ),
    "a number beside functions": (
        {"facade.py": f"CUTS = 0\n{CUT_LATER}{CUT[:-1]} if CUTS else x\n", "use.py": USES["by_name.py"]},
        {"facade.py": f"CUTS = 1\n{CUT_LATER}{CUT[:-1]} if CUTS else x\n"},
    ),
    "whether a file is there": ({"use.py": USES["by_name.py"]}, {"facade.py": STOPPED}),
}


@pytest.mark.parametrize(("before", "after"), CHANGES.values(), ids=CHANGES)
def test_each_thing_that_a_check_looks_at_counts(
    tmp_path: Path, before: Mapping[str, str], after: Mapping[str, str]
) -> None:
    folder, kept = tmp_path / "pkg", tmp_path / "kept"
    first = check_files(write(folder, {"__init__.py": ""} | before), cache_folder=kept)
    paths = write(folder, after)
    second = check_files(paths)
    assert said(first) != said(second), "the change makes a difference"
    assert said(check_files(paths, cache_folder=kept)) == said(second)


def test_what_is_no_aspect_of_a_text_cannot_be_seen() -> None:
    text = SourceText.of("x = 1\n")
    with pytest.raises(ValueError, match="no aspect"):
        seen(Read(text, outline(text.text)), "content")
    assert seen(None, "names") is None
