"""The outline that is read without a parser, against Python's own: nothing that the parser sees may be missing."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnlint.source.outline import Outline, outline
from bnlint.source.screen import blanked
from bnlint.source.text import SourceText, parsed

PARTS = ["timm/layers", "timm/models", "torchvision/ops", "torch/nn/modules", "torch/nn/utils", "torch/optim"]


def files(part: str) -> list[Path]:
    package, _, folder = part.partition("/")
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"{package} is not installed")
    return sorted((Path(spec.origin).parent / folder).glob("*.py"))[:60]


def functions(tree: ast.Module) -> Iterator[tuple[str, str, ast.AST]]:
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.name, node.name, node
        elif isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)) and item.name != "__init__":
                    yield node.name, item.name, item


def mentioned(node: ast.AST) -> set[str]:
    parts = list(ast.walk(node))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return names | {part.attr for part in parts if isinstance(part, ast.Attribute)}


def names_of(sketch: Outline, top: str, name: str) -> set[str]:
    return {each for unit in sketch.units if (unit.top, unit.name) == (top, name) for each in unit.names}


@pytest.mark.parametrize("part", PARTS)
def test_no_function_and_no_name_of_installed_packages_is_missing(part: str) -> None:
    seen = 0
    for path in files(part):
        text = SourceText.decode(path.read_bytes()).text
        sketch, tree = outline(text), parsed(text)
        for top, name, node in functions(tree):
            decorators = {each for d in getattr(node, "decorator_list", ()) for each in mentioned(d)}
            missing = mentioned(node) - decorators - names_of(sketch, top, name)
            assert missing == set(), (path, top, name)
            seen += 1
        stated = [each for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)]
        bound = {alias.asname or alias.name for each in stated for alias in each.names} - {"*"}
        assert bound <= sketch.imports.keys(), path
        for each in tree.body:
            if isinstance(each, ast.ClassDef):
                assert {ast.unparse(b) for b in each.bases if isinstance(b, (ast.Name, ast.Attribute))} <= set(
                    sketch.bases[each.name]
                ), path
    assert seen > 20


@pytest.mark.parametrize("part", ["timm/layers", "torch/optim"])
def test_one_definition_alone_is_the_same_definition(part: str) -> None:
    for path in files(part)[:25]:
        text = SourceText.decode(path.read_bytes()).text
        sketch, tree = outline(text), parsed(text)
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                alone = parsed(blanked(text, sketch, frozenset({node.name})))
                kept = [each for each in alone.body if isinstance(each, (ast.FunctionDef, ast.ClassDef))]
                assert {each.name for each in kept} == {node.name}, path
                assert ast.dump(kept[-1], include_attributes=True) in {
                    ast.dump(each, include_attributes=True)
                    for each in tree.body
                    if isinstance(each, (ast.FunctionDef, ast.ClassDef)) and each.name == node.name
                }


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    "text",
    [
        '"""\ndef fake(x):\n    return 1\n"""\n\n\ndef real(x):\n    return x.mean()\n',
        "# a comment with \"\"\" in it\ndef real(x):\n    return x.mean()\n# and '''\n",
        "QUOTES = ('\"\"\"', \"'''\")\n\n\ndef real(x):\n    return x.mean()\n",
        "import torch\n\n\n@torch.no_grad()\n# why\ndef real(x):\n    return x.mean()\n",
        "def before(x): return x\ndef real(x): return x.mean()\n",
        "async def real(x):\n    return x.mean()\n",
        "if True:\n    import os\n\n\ndef real(x):\n    return (\nx\n.mean()\n)\n",
        "def real(x):\n    text = '''\nclass Fake:\n    pass\n'''\n    return x.mean()\n",
    ],
)
def test_hard_texts(text: str, newline: str) -> None:
    sketch = outline(text.replace("\n", newline))
    (unit,) = (unit for unit in sketch.units if unit.name == "real")
    assert unit.statistic
    assert "fake" not in sketch.tops
    assert "Fake" not in sketch.tops


def test_words_in_docstrings_and_comments_are_no_names() -> None:
    real = 'def real(x):\n    """Call other and detach."""\n    return x  # other.detach()\n'
    text = real + "\n\ndef other(x):\n    return x\n"
    (unit,) = (unit for unit in outline(text).units if unit.name == "real")
    assert "other" not in unit.names
    assert not unit.stop


def test_methods_with_decorators_of_several_lines() -> None:
    method = "    def {}(self, x):\n        return x\n"
    text = "class A:\n" + method.format("a") + "    @keep(\n        no_grad,\n    )\n" + method.format("b")
    names = {unit.name: unit.names for unit in outline(text).units}
    assert "no_grad" in names["b"]
    assert "no_grad" not in names["a"]
