"""Names that a project declares: found whatever they are called, in the project or installed, and measured."""

from __future__ import annotations

import importlib
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import IMPORTS, direction_error

from bnlint.finding import Finding, Severity
from bnlint.source import definitions, followed
from bnlint.source.check import check_source, fix_source
from bnlint.source.outline import outline
from bnlint.source.project import Project
from bnlint.source.words import Words
from bnlint.vocabulary import NO_WORDS, Meaning, OwnRule, Vocabulary, Word

_MARK = re.compile(r"#.*\b(BN\d{3})\b")

WORDS = Vocabulary(
    (
        *(Word(f"acme.ops.{name}", Meaning.STOP) for name in ("freeze", "Gate", "Stopper", "Tools.freeze", "off")),
        Word(".frozen", Meaning.STOP),
        *(Word(f"acme.ops.{name}", Meaning.STATISTIC) for name in ("robust_mean", "robust_std", "stats")),
        Word("acme.ops.sync", Meaning.PASS_THROUGH),
        Word(".named", Meaning.PASS_THROUGH),
    )
)

#: what bnlint cannot see through, as it is built at run time
OPS = """
    _NAMES = (("det", "ach"), ("me", "an"), ("st", "d"), ("cl", "one"))
    _FOUND = {name: getattr(torch, "".join(name)) for name in _NAMES}
    off = getattr(torch, "no_" + "grad")

    def freeze(x):
        return _FOUND["det", "ach"](x)

    class Gate(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.view_as(x)

        @staticmethod
        def backward(ctx, gradient):
            return None

    class Stopper(nn.Module):
        def forward(self, x):
            return _FOUND["det", "ach"](x)

    class Tools:
        @staticmethod
        def freeze(x):
            return _FOUND["det", "ach"](x)

        def frozen(self, x):
            return _FOUND["det", "ach"](x)

    def robust_mean(x):
        return _FOUND["me", "an"](x, dim=0)

    def robust_std(x):
        return _FOUND["st", "d"](x, dim=0)

    def stats(x):
        return robust_mean(x), robust_std(x)

    def sync(x):
        return tuple(map(sync, x)) if isinstance(x, tuple) else _FOUND["cl", "one"](x)

    setattr(torch.Tensor, "frozen", lambda x: _FOUND["det", "ach"](x))
    setattr(torch.Tensor, "named", lambda x, name: _FOUND["cl", "one"](x))
"""
#: another package with functions of the same names
OTHER = """
    def freeze(x):
        return x * 1

    def frozen(x):
        return x * 1
"""
NORM = "\n\n    def norm(x):\n        return x - {}(x.mean(0))  # BN101\n"

STOPPED = {
    "from import": "from acme.ops import freeze" + NORM.format("freeze"),
    "from import as": "from acme.ops import freeze as still" + NORM.format("still"),
    "import": "import acme.ops" + NORM.format("acme.ops.freeze"),
    "import as": "import acme.ops as ops" + NORM.format("ops.freeze"),
    "module of a package": "from acme import ops" + NORM.format("ops.freeze"),
    "star": "from acme.ops import *" + NORM.format("freeze"),
    "inside the function": """
        def norm(x):
            from acme.ops import freeze as still
            return x - still(x.mean(0))  # BN101
    """,
    "handed on under another name": "from nets.compat import still" + NORM.format("still"),
    "handed on relatively": "from .compat import still" + NORM.format("still"),
    "handed on by a module": "from nets import compat" + NORM.format("compat.still"),
    "a module handed on": "from .compat import tools" + NORM.format("tools.freeze"),
    "handed on by a star": "from .starred import freeze" + NORM.format("freeze"),
    "apply of a class": "from acme.ops import Gate" + NORM.format("Gate.apply"),
    "apply of a class by its module": "from acme import ops" + NORM.format("ops.Gate.apply"),
    "an object called at once": "from acme.ops import Stopper" + NORM.format("Stopper()"),
    "an object kept": """
        from acme.ops import Stopper as Still

        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.still = Still()

            def forward(self, x):
                return x - self.still(x.mean(0))  # BN101
    """,
    "an object kept, by its module": """
        from acme import ops

        class Norm(nn.Module):
            def __init__(self):
                super().__init__()
                self.still = ops.Stopper()

            def forward(self, x):
                return x - self.still(x.mean(0))  # BN101
    """,
    "a static method": "from acme.ops import Tools" + NORM.format("Tools.freeze"),
    "a method of a tensor": """
        import acme.ops

        def norm(x):
            return x - x.mean(0).frozen()  # BN101
    """,
    "a method of an object": """
        from acme.ops import Tools

        TOOLS = Tools()

        def norm(x):
            return x - TOOLS.frozen(x.mean(0))  # BN101
    """,
    "several at once": """
        from acme.ops import Tools

        def norm(x):
            mean, std = [Tools.freeze(each) for each in (x.mean(0), x.std(0))]  # BN101
            return (x - mean) / std
    """,
    "a detached input": """
        from acme.ops import freeze

        def norm(x):
            return x - freeze(x).mean(0)  # BN103
    """,
    "a context manager": """
        from acme.ops import off as quiet

        def norm(x):
            with quiet():
                mean = x.mean(0)  # BN102
            return x - mean
    """,
    "a decorator": """
        from acme import ops

        @ops.off()
        def center(x):
            return x.mean(0)  # BN102

        def norm(x):
            return x - center(x)
    """,
    "a declared mean": """
        from acme.ops import robust_mean

        def norm(x):
            return x - robust_mean(x).detach()  # BN101
    """,
    "a declared scale": """
        from acme.ops import robust_std as scale

        def norm(x):
            return x / (scale(x) + 1e-5).detach()  # BN101
    """,
    "a declared pair": """
        from acme.ops import stats

        def norm(x):
            mean, std = stats(x)
            return (x - mean) / std.detach()  # BN101
    """,
    "a declared statistic of a declared stop": """
        from acme.ops import freeze, robust_mean

        def norm(x):
            return x - robust_mean(freeze(x))  # BN103
    """,
    "passed through": """
        from acme.ops import sync

        def norm(x):
            return x - sync(x.mean(0)).detach()  # BN101
    """,
    "a pair passed through": """
        from acme.ops import sync

        def norm(x):
            mean, std = sync((x.mean(0), x.std(0).detach()))  # BN101
            return (x - mean) / std
    """,
    "passed through by a method": """
        import acme.ops

        def norm(x):
            return x - x.mean(0).named("mean").detach()  # BN101
    """,
}
RIGHT = {
    "another function of this name": "from other.ops import freeze" + NORM.format("freeze").replace("BN101", ""),
    "a parameter of this name": """
        from acme.ops import freeze

        def center(x, freeze):
            return x - freeze(x.mean(0))

        def norm(x):
            return center(x, lambda m: m * 1)
    """,
    "a function with the name of a method": "from other import ops" + NORM.format("ops.frozen").replace("BN101", ""),
    "a declared mean that is live": """
        from acme.ops import robust_mean

        def norm(x):
            return x - robust_mean(x)
    """,
    "a live value passed through": """
        from acme.ops import sync

        def norm(x):
            return x - sync(x.mean(0))
    """,
    "a stop that is not on the way": """
        from acme.ops import freeze

        def norm(x):
            seen.append(freeze(x.mean(0)))
            return x - x.mean(0)

        seen = []
    """,
    "the variance centers by a stopped mean": """
        from acme.ops import freeze

        def norm(x):
            var = (x - freeze(x.mean(0))).square().mean(0)
            return x / (var + 1e-5).sqrt()
    """,
}
AROUND = {
    "nets/__init__.py": "",
    "nets/compat.py": "from acme.ops import freeze as still\n    from acme import ops as tools",
    "nets/starred.py": "from acme.ops import *",
}
INSIDE = "project"
INSTALLED = "site-packages"
#: the same when the package is the file's own
RELATIVE = {
    "relative": "from .ops import freeze as still" + NORM.format("still"),
    "relative module": "from . import ops" + NORM.format("ops.freeze"),
    "relative static method": "from .ops import Tools" + NORM.format("Tools.freeze"),
    "relative star": "from .ops import *" + NORM.format("freeze"),
}


def written(layer: str, home: str, folder: Path, name: str = "nets/layer.py") -> Path:
    """Write a project with a layer, and the packages that it uses: in the project or installed."""
    files = {f"project/{each}": text for each, text in (AROUND | {name: layer, "setup.cfg": ""}).items()}
    packages = {"acme": OPS, "other": OTHER}
    files |= {f"{home}/{each}/{file}": text for each, ops in packages.items() for file, text in _package(ops)}
    for each, text in files.items():
        path = folder / each
        path.parent.mkdir(parents=True, exist_ok=True)
        own = textwrap.dedent(text if text.startswith("\n") else f"    {text}").strip("\n ")
        path.write_text(f"{IMPORTS}{own}\n" if text else "")
    return folder / "project" / name


def _package(ops: str) -> list[tuple[str, str]]:
    return [("__init__.py", ""), ("ops.py", ops)]


def found(layer: Path, words: Vocabulary = WORDS) -> list[Finding]:
    findings = check_source(layer.read_bytes(), str(layer), Project([layer], lambda _: words))
    return [f for f in findings if f.severity is not Severity.NOTE]


def places(findings: list[Finding]) -> list[tuple[int, str]]:
    return sorted({(f.location.line, f.code) for f in findings if f.location is not None})


def marks(layer: Path) -> list[tuple[int, str]]:
    lines = enumerate(layer.read_text().splitlines(), 1)
    return [(number, code) for number, line in lines for code in _MARK.findall(line)]


@pytest.fixture(params=[INSIDE, INSTALLED])
def home(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the packages are; they can be imported, and are forgotten after the test."""
    for folder in {INSIDE, str(request.param)}:
        monkeypatch.syspath_prepend(str(tmp_path / folder))
    before = set(sys.modules)
    yield str(request.param)
    for name in set(sys.modules) - before:
        module = sys.modules[name]
        # A package without an `__init__.py` has no file.
        if str(tmp_path) in f"{getattr(module, '__file__', '')}{list(getattr(module, '__path__', ()))}":
            del sys.modules[name]


def error(module: str) -> float:
    loaded = importlib.import_module(module)
    return direction_error(loaded.Norm() if hasattr(loaded, "Norm") else loaded.norm)


@pytest.mark.parametrize("layer", STOPPED.values(), ids=STOPPED.keys())
def test_a_declared_name_is_found_and_autograd_agrees(layer: str, home: str, tmp_path: Path) -> None:
    path = written(layer, home, tmp_path)
    assert places(found(path)) == marks(path) != []
    assert error("nets.layer") > 1e-4


@pytest.mark.parametrize("layer", RIGHT.values(), ids=RIGHT.keys())
def test_what_only_looks_like_it_is_silent_and_right(layer: str, home: str, tmp_path: Path) -> None:
    path = written(layer, home, tmp_path)
    assert found(path) == []
    assert error("nets.layer") < 1e-4


@pytest.mark.parametrize("layer", RELATIVE.values(), ids=RELATIVE.keys())
def test_the_packages_own_files_import_it_relatively(layer: str, tmp_path: Path) -> None:
    path = written(layer, INSIDE, tmp_path, "acme/layer.py")
    assert places(found(path)) == marks(path) != []
    (tmp_path / "project/acme/ops.py").unlink()  # compiled, say
    assert places(found(path)) == marks(path)


def test_the_file_that_defines_it_uses_it_too(tmp_path: Path) -> None:
    path = written("", INSIDE, tmp_path, "nets/layer.py").parents[1] / "acme/ops.py"
    path.write_text(path.read_text() + "\n\ndef norm(x):\n    return x - freeze(x.mean(0))  # BN101\n")
    assert places(found(path)) == marks(path)
    script = path.with_name("train.py")
    script.write_text(path.read_text())
    assert places(found(script, Vocabulary((Word("acme.train.freeze", Meaning.STOP),)))) == marks(path)


def test_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("def freeze(x):\n    return hidden(x)\n\n\ndef norm(x):\n    return x - freeze(x.mean(0))\n")
    assert places(found(script, Vocabulary((Word("train.freeze", Meaning.STOP),)))) == [(6, "BN101")]


def test_a_namespace_package_needs_no_init(tmp_path: Path) -> None:
    path = written("from ._C import freeze" + NORM.format("freeze"), INSIDE, tmp_path, "deep/er/layer.py")
    for name in ("deep.er._C.freeze", "er._C.freeze"):
        assert places(found(path, Vocabulary((Word(name, Meaning.STOP),)))) == marks(path)
    for name in ("_C.freeze", "other.er._C.freeze", "deep._C.freeze"):
        assert found(path, Vocabulary((Word(name, Meaning.STOP),))) == []


def test_a_package_is_named_in_full(tmp_path: Path) -> None:
    path = written("from ._C import freeze" + NORM.format("freeze"), INSIDE, tmp_path, "deep/er/layer.py")
    for folder in ("deep", "deep/er"):
        (tmp_path / "project" / folder / "__init__.py").touch()
    assert places(found(path, Vocabulary((Word("deep.er._C.freeze", Meaning.STOP),)))) == marks(path)
    assert found(path, Vocabulary((Word("er._C.freeze", Meaning.STOP),))) == []


def test_a_helper_has_the_words_of_its_own_place(tmp_path: Path) -> None:
    layer = written("from .helper import center\n\n    def norm(x):\n        return x - center(x)", INSTALLED, tmp_path)
    helper = layer.with_name("helper.py")
    helper.write_text("from acme.ops import freeze\n\n\ndef center(x):\n    return freeze(x.mean(0))\n")
    words = {helper: WORDS}
    findings = check_source(layer.read_bytes(), str(layer), Project([layer], lambda file: words.get(file, NO_WORDS)))
    assert [(f.location.path, f.location.line) for f in findings if f.location] == [(str(helper), 5)]
    words = {layer: WORDS}
    project = Project([layer], lambda file: words.get(file, NO_WORDS))
    assert check_source(layer.read_bytes(), str(layer), project) == []


def test_a_file_has_its_words_whatever_the_defining_file_has(tmp_path: Path) -> None:
    layer = written(STOPPED["from import"], INSIDE, tmp_path)
    project = Project([layer], lambda file: WORDS if file == layer else NO_WORDS)
    assert places(check_source(layer.read_bytes(), str(layer), project)) == marks(layer)


def test_a_name_declared_as_it_is_handed_on_is_the_same_where_it_is_defined(tmp_path: Path) -> None:
    layer = written(STOPPED["from import"], INSIDE, tmp_path)
    assert places(found(layer, Vocabulary((Word("nets.compat.still", Meaning.STOP),)))) == marks(layer)


def test_a_method_that_computes_a_statistic(tmp_path: Path) -> None:
    layer = written("def norm(x):\n        return x / x.spread().detach()  # BN101", INSTALLED, tmp_path)
    assert places(found(layer, Vocabulary((Word(".spread", Meaning.STATISTIC),)))) == marks(layer)


def test_the_parts_of_what_was_stopped_know_the_name(tmp_path: Path) -> None:
    text = """
        from acme.ops import freeze

        def norm(x):
            mean, std = freeze(torch.stack([x.mean(0), x.std(0)])).unbind()
            return (x - mean) / std
    """
    layer = written(text, INSTALLED, tmp_path)
    words = Vocabulary((Word("acme.ops.freeze", Meaning.STOP, OwnRule("ACME101", "no-freeze", Severity.ERROR)),))
    assert {f.code for f in found(layer, words)} == {"ACME101"}


# -- the screen


METHOD = STOPPED["a method of a tensor"]
CHAIN = STOPPED["handed on under another name"]


def test_without_the_words_there_is_nothing_to_find(tmp_path: Path) -> None:
    for layer in STOPPED.values():
        if ".detach()" not in layer:
            assert found(written(layer, INSTALLED, tmp_path), NO_WORDS) == []


def test_a_screen_that_does_not_know_the_words_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(METHOD, INSTALLED, tmp_path)
    assert found(path)
    for module in (definitions, followed):
        monkeypatch.setattr(module, "outline", lambda tree, _=NO_WORDS: outline(tree))
    assert found(path) == []


def test_a_screen_that_does_not_follow_the_words_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(CHAIN, INSTALLED, tmp_path)
    assert found(path)
    monkeypatch.setattr(Words, "reached", lambda *_: ())
    assert found(path) == []


# -- findings


def test_a_rule_of_the_project_reports_what_its_names_stop(tmp_path: Path) -> None:
    rule = OwnRule("ACME101", "no-freeze", Severity.WARNING)
    words = Vocabulary((Word("acme.ops.freeze", Meaning.STOP, rule), Word("acme.ops.off", Meaning.STOP, rule)))
    for layer in ("from import", "a detached input", "a context manager"):
        path = written(STOPPED[layer], INSTALLED, tmp_path)
        (finding,) = found(path, words)
        assert (finding.code, finding.name, finding.severity) == ("ACME101", "no-freeze", Severity.WARNING)
        assert [finding.location.line] == [line for line, _ in marks(path)] if finding.location else False
        assert "`acme.ops." in finding.message


def test_a_reason_makes_a_finding_of_the_project_a_note(tmp_path: Path) -> None:
    words = Vocabulary((Word("acme.ops.freeze", Meaning.STOP, OwnRule("ACME101", "no-freeze", Severity.ERROR)),))
    path = written(STOPPED["from import"].replace("# BN101", "# stop the gradient on purpose"), INSTALLED, tmp_path)
    (finding,) = check_source(path.read_bytes(), str(path), Project([path], lambda _: words))
    assert (finding.code, finding.severity) == ("ACME101", Severity.NOTE)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("freeze(x.mean(0))", "x.mean(0)"),
        ("2 * freeze(x.mean(0) + 1)", "2 * (x.mean(0) + 1)"),
        ("x.mean(0).frozen()", "x.mean(0)"),
        ("freeze(x.mean(0), 3)", None),
        ("freeze(x=x.mean(0))", None),
        ("freeze(  # why\n        x.mean(0))", None),
    ],
)
def test_the_fix_leaves_what_went_in(tmp_path: Path, before: str, after: str | None) -> None:
    path = written(f"from acme.ops import freeze\n\n    def norm(x):\n        return x - {before}", INSTALLED, tmp_path)
    source = path.read_bytes()
    assert found(path)
    fixed = fix_source(source, str(path), lambda _: True, Project([path], lambda _: WORDS)).decode()
    assert fixed == source.decode().replace(before, after or before)


CUSTOM = """
    from acme.layers import Scale

    class Norm(Scale):
        def forward(self, x):
            return (x - x.mean(0)) / torch.sqrt(x.var(0) + self.eps)
"""


@pytest.mark.parametrize("home", [INSIDE, INSTALLED])
def test_a_declared_class_makes_its_subclasses_normalization_layers(tmp_path: Path, home: str) -> None:
    path = written(CUSTOM, home, tmp_path)
    layers = tmp_path / home / "acme/layers.py"
    layers.write_text(IMPORTS + "class Scale(nn.Module):\n    eps = 1e-5\n")
    words = Vocabulary((Word("acme.layers.Scale", Meaning.NORM),))

    def codes(words: Vocabulary) -> list[str]:
        return [f.code for f in check_source(path.read_bytes(), str(path), Project([path], lambda _: words))]

    assert codes(words) == ["BN301"]
    assert codes(NO_WORDS) == []


def test_a_declared_class_is_a_normalization_layer_itself(tmp_path: Path) -> None:
    path = written(CUSTOM.replace("Norm(Scale)", "Norm(nn.Module)").replace("self.eps", "1e-5"), INSIDE, tmp_path)
    words = Vocabulary((Word("nets.layer.Norm", Meaning.NORM),))
    project = Project([path], lambda _: words)
    assert [f.code for f in check_source(path.read_bytes(), str(path), project)] == ["BN301"]
    assert found(path, NO_WORDS) == []


# -- suppressions


@pytest.mark.parametrize(
    ("line", "unused"),
    [
        ("return x - x.mean(0).detach()  # bnlint: ignore[ACME101] why", ["ACME101"]),
        ("return x - still(x.mean(0))  # bnlint: ignore[ACME101] why", []),
        ("return still(x)  # bnlint: ignore[ACME101] whoever calls it", []),
        ("return still(x)  # noqa: ACME101", []),
        ("return x  # noqa: ACME101", ["ACME101"]),
        ("return x  # noqa: ACME999", []),
        ("return x  # bnlint: ignore[ACME102]", ["ACME102"]),
        ("return x.frozen()  # bnlint: ignore[BN101] whoever calls it", []),
        ("return x  # bnlint: ignore[BN101] whoever calls it", ["BN101"]),
    ],
)
def test_unused_suppressions(tmp_path: Path, line: str, unused: list[str]) -> None:
    own = Word("acme.ops.freeze", Meaning.STOP, OwnRule("ACME101", "no-freeze", Severity.ERROR))
    words = Vocabulary((own, Word(".frozen", Meaning.STOP)))
    path = written(f"from acme.ops import freeze as still\n\n    def norm(x):\n        {line}", INSTALLED, tmp_path)
    findings = [f for f in found(path, words) if f.code == "BN002"]
    source = path.read_text().splitlines()
    spans = [(f.location.line - 1, f.location.column - 1, f.location.end_column - 1) for f in findings if f.location]
    texts = [source[line][first:last] for line, first, last in spans]
    assert texts == unused
    if unused == ["ACME102"]:
        assert "the nearest is ACME101" in findings[0].message
