"""Normalization layers of installed packages: classes whose code computes a statistic, made small, with an input.

Files are read and picked by their syntax alone; only modules with a candidate are imported. A class that is a copy of
another one, as most of transformers' are, is taken once.
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CHANNELS = 4
SHAPES = ((6, 4, 3, 5), (3, 5, 2, 4), (6, 3, 4), (6, 4, 3), (6, 4), (3, 4, 2, 3, 2))
REDUCTIONS = frozenset({"mean", "var", "std", "norm", "vector_norm", "sum", "amax", "var_mean", "std_mean"})
_MAYBE = re.compile(rb"\.(mean|var|std|norm|vector_norm|sum|amax|var_mean|std_mean)\(")
_NORMALIZES = re.compile(
    r"(?<!self)\.(var|std|var_mean|std_mean|norm)\(|(\bpow\([^()]*|\*\* ?2|square\([^()]*)\)*\.mean\("
)
_LONGEST = 150  # lines of a class; longer ones are models
_HUGE = 10_000  # parameters
#: what required arguments are made with, by a part of their name
_ARGUMENTS: Mapping[str, Any] = {
    "group": 2,
    "shape": (CHANNELS,),
    "eps": 1e-5,
    "momentum": 0.1,
    "affine": True,
    "": CHANNELS,
}


@dataclass(frozen=True)
class Subject:
    """A class that can be made and run; `module` is where it is written."""

    module: str
    name: str
    file: Path
    shape: tuple[int, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.module}.{self.name}"

    def build(self, cls: type[nn.Module]) -> nn.Module:
        """Make the layer, or one of a changed copy of the class, with the same weights, none of them 0 or 1."""
        torch.manual_seed(0)
        layer = cls(**self.arguments).double().train()
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.copy_(torch.rand(parameter.shape, generator=generator, dtype=parameter.dtype) + 0.5)
        return layer

    def input(self) -> Tensor:
        generator = torch.Generator().manual_seed(2)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64) * 0.7 + 0.4


def subjects(packages: Sequence[str]) -> Iterator[Subject]:
    """Yield the layers of packages, each text of a class once."""
    seen: set[str] = set()
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"no package {package} is installed")
        torch.hub.load_state_dict_from_url = _refuse  # some layers would fetch weights
        root = Path(next(iter(spec.submodule_search_locations)))
        for file in sorted(root.rglob("*.py")):
            names = list(_candidates(file, seen))
            if names and file.name != "__init__.py":
                module = ".".join([package, *file.relative_to(root).with_suffix("").parts])
                yield from _runnable(module, names, file)


def _refuse(*_: object, **__: object) -> Any:
    raise OSError("nothing is fetched here")


def _candidates(file: Path, seen: set[str]) -> Iterator[str]:
    source = file.read_bytes()
    if not _MAYBE.search(source) or b"forward" not in source:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno < _LONGEST:
            forward = [part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "forward"]
            if not forward or not ("norm" in node.name.lower() or _NORMALIZES.search(ast.unparse(forward[0]))):
                continue
            text = "\n".join(ast.unparse(part) for part in node.body if not isinstance(part, ast.Expr))
            if text.replace(node.name, "") not in seen:
                seen.add(text.replace(node.name, ""))
                yield node.name


def reduces(node: ast.AST) -> bool:
    """Whether an expression calls a reduction: of a tensor, or of torch."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in REDUCTIONS):
        return False
    text = ast.unparse(node)
    of_squares = re.search(r"pow|square|\*|abs", text) is not None  # another sum is seldom a statistic
    return not re.match(r"(self|np|math)\.\w+\(", text) and (node.func.attr != "sum" or of_squares)


def _runnable(module: str, names: Sequence[str], file: Path) -> Iterator[Subject]:
    try:
        found = importlib.import_module(module)
    except BaseException as error:  # whatever the import of a package wants
        if isinstance(error, KeyboardInterrupt):
            raise
        return
    for name in names:
        cls = getattr(found, name, None)
        if not (isinstance(cls, type) and issubclass(cls, nn.Module) and cls.__module__ == module):
            continue
        for arguments in _argument_sets(cls):
            made = _with_shape(cls, Subject(module, name, file, (), arguments))
            if made is not None:
                yield made
                break


def _argument_sets(cls: type[nn.Module]) -> Iterator[dict[str, Any]]:
    """Yield what a class may be made with: its required arguments by name, and twice as many channels as groups."""
    try:
        parameters = inspect.signature(cls).parameters.values()
    except (TypeError, ValueError):
        return
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    required = [p.name for p in plain if p.default is p.empty]
    chosen = {name: next(value for part, value in _ARGUMENTS.items() if part in name.lower()) for name in required}
    yield chosen
    for p in plain:
        if p.name not in required and p.default is None and re.search("channel|dim|feature|size", p.name):
            yield chosen | {p.name: CHANNELS}
        if "group" in p.name and p.name not in required:
            yield chosen | {p.name: 2}
    if chosen:
        yield {name: (CHANNELS,) if value == CHANNELS else value for name, value in chosen.items()}


def _with_shape(cls: type[nn.Module], subject: Subject) -> Subject | None:
    for shape in SHAPES:
        here = Subject(subject.module, subject.name, subject.file, shape, subject.arguments)
        try:
            layer = here.build(cls)
            if sum(parameter.numel() for parameter in layer.parameters()) > _HUGE:
                return None
            first, second = (output(copy.deepcopy(layer)(here.input().requires_grad_())) for _ in range(2))
        except Exception:  # another shape, or none
            continue
        if torch.equal(first, second) and first.requires_grad and first.isfinite().all():
            return here
    return None


def output(result: Any) -> Tensor:
    """Return the first floating tensor of what a layer returns."""
    if isinstance(result, Tensor):
        return result
    return next(item for item in result if isinstance(item, Tensor) and item.is_floating_point())
