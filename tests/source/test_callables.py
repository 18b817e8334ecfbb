"""Functions by another name, wrapped, or called with arguments given before: what stops in them is reported."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from snippets import direction_error, filled, marked, module, reported

_MEAN = "return t.mean((0, 2, 3), keepdim=True)<STOP>"
_OVER = "return t.mean(over, keepdim=True)<STOP>"


def _module(definitions: str, body: str) -> str:
    return module(f"import functools\nfrom torch.utils.checkpoint import checkpoint\n\n\n{definitions}\n\n\n{body}")


def _named(wrapped: str, parameters: str = "t", returned: str = _MEAN) -> str:
    return _module(f"def center({parameters}):\n    {returned}\n\n\n{wrapped}", "def norm(x):\n    return x - f(x)")


#: `<STOP>` stands for a stop, or for nothing
SHAPES = {
    "script": _named("f = torch.jit.script(center)", "t: torch.Tensor"),
    "script under its own name": _module(
        f"def f(t: torch.Tensor):\n    {_MEAN}\n\n\nf = torch.jit.script(f)", "def norm(x):\n    return x - f(x)"
    ),
    "compile": _named('f = torch.compile(center, backend="eager")'),
    "compile with options first": _named('f = torch.compile(backend="eager")(center)'),
    "partial by keyword": _named("f = functools.partial(center, over=(0, 2, 3))", "t, over", _OVER),
    "partial by position": _named("f = functools.partial(center, (0, 2, 3))", "over, t", _OVER),
    "partial of a partial": _named(
        "g = functools.partial(center, 1e-5)\nf = functools.partial(g, over=(0, 2, 3))", "eps, t, over", _OVER
    ),
    "partial inside the function": _module(
        f"def center(t, over):\n    {_OVER}",
        "def norm(x):\n    f = functools.partial(center, over=(0, 2, 3))\n    return x - f(x)",
    ),
    "partial of a function of torch": _module(
        "f = functools.partial(torch.mean, dim=(0, 2, 3), keepdim=True)", "def norm(x):\n    return x - f(x)<STOP>"
    ),
    "cache": _named("f = functools.lru_cache(maxsize=None)(center)"),
    "another name": _named("f = center"),
    "decorator of the project, called": _named(
        "def logged(function):\n"
        "    @functools.wraps(function)\n"
        "    def inner(*args, **kwargs):\n"
        "        return function(*args, **kwargs)\n\n"
        "    return inner\n\n\n"
        "f = logged(center)"
    ),
    "decorator that stops": _module(
        "def quiet(function):\n    def inner(t):\n        m = function(t)\n        return m<STOP>\n\n"
        "    return inner\n\n\n"
        "def center(t):\n    return t.mean((0, 2, 3), keepdim=True)\n\n\nf = quiet(center)",
        "def norm(x):\n    return x - f(x)",
    ),
    "checkpoint": _module(
        f"def center(t):\n    {_MEAN}", "def norm(x):\n    return x - checkpoint(center, x, use_reentrant=False)"
    ),
}


def _norm(folder: Path, source: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """Import a module from a file: TorchScript reads its source."""
    path = folder / "normalization.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location("normalization", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made.norm  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_stop_in_it_is_reported_where_it_stands(shape: str, tmp_path: Path) -> None:
    source = filled(shape, ".detach()")

    assert direction_error(_norm(tmp_path, source)) > 1e-4
    assert marked(source) and reported(source) == marked(source)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_without_a_stop_nothing_is(shape: str, tmp_path: Path) -> None:
    source = filled(shape, "")

    assert direction_error(_norm(tmp_path, source)) < 1e-6
    assert reported(source) == []


@pytest.mark.parametrize(
    "wrapped",
    [
        "f = torch.compile(zeros_of)",  # what is wrapped stops no statistic
        "f = functools.partial(unknown, center)",
        "f = center\nf = unknown(f)\n\n\ndef f(t):\n    return 0.0",
        "f = functools.partial(f)",
        "f = g\ng = f",
    ],
)
def test_what_leads_nowhere_is_nothing(wrapped: str) -> None:
    source = _module(
        f"def zeros_of(t):\n    return torch.zeros_like(t.mean().detach())\n\n\n"
        f"def center(t):\n    return t.mean((0, 2, 3), keepdim=True).detach()\n\n\n{wrapped}",
        "def norm(x):\n    return x - f(x)",
    )

    assert reported(source) == []
