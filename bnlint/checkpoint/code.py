"""What `--code FILE` defines: the classes of a training script, without its training."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from bnlint.errors import InputError, lacking, nearest

_MISSING = object()
_NOT_RUN = (
    "only imports, classes, functions and constants of the file are run: move what a class needs into one of these"
)


@dataclass(frozen=True, slots=True)
class Code:
    """A file of `--code`.

    Attributes:
        path: The file.
        cells: Of a notebook, each cell of Python with its number, magics left out; None for a Python file.
    """

    path: Path
    cells: Mapping[int, str] | None = None


def definitions(code: Code) -> dict[str, type]:
    """Return the classes that a Python file or a notebook defines, and never run its training code.

    Of the file's top level only this is executed: imports (also inside `try`), classes, functions, and assignments of
    literal constants or of dotted names (`Norm = nn.BatchNorm2d`). Calls, loops, `if` blocks and everything else are
    left out, so what the imported modules and the class bodies do is all that happens. Imports see the file's own
    folder first, as they do when Python runs the file. Functions keep the real file and line numbers, for tracebacks
    and for `inspect.getsource`; the module itself, named after the file's stem, does not stay in `sys.modules`.

    Args:
        code: What the user named.

    Returns:
        The classes by name, those that are defined in the file and not merely imported by it.

    Raises:
        InputError: The file is missing, is not Python, or one of its definitions fails.
    """
    module = _run(code)
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }


def named(name: str, files: Sequence[Code]) -> Any:
    """Return what a class or function of one of these files is called by, executing no more than `definitions` does.

    Raises:
        InputError: No file defines it, or one cannot be run.
    """
    callables: list[str] = []
    for code in files:
        module = vars(_run(code))
        if callable(module.get(name)):
            return module[name]
        callables += [each for each, value in module.items() if callable(value)]
    near = nearest(name, callables, cutoff=0.6)
    told = ", ".join(str(code.path) for code in files)
    what = f"no class or function `{name}` is defined in {told}" if files else "names no module, and there is no --code"
    hint = f"did you mean `{near}`?" if near else "--model PKG.MODULE:FACTORY, or --code FILE.py --model NAME"
    raise InputError(what, where=f"--model {name}", hint=hint)


def _run(code: Code) -> ModuleType:
    file = code.path.resolve()
    module = ModuleType(_free_name(file.stem))
    module.__file__ = str(file)
    for place, tree in _parts(code):
        tree.body = [statement for statement in tree.body if _defines(statement)]
        try:
            with _registered(module), _importable(file.parent):
                exec(compile(tree, f"{file}{place}", "exec", dont_inherit=True), module.__dict__)
        except (Exception, SystemExit) as error:
            raise _failure(f"{code.path}{place}", f"{file}{place}", error) from error
    return module


def _parts(code: Code) -> Iterator[tuple[str, ast.Module]]:
    """Parse a file as a whole, a notebook cell by cell; yield where each part is in it."""
    if code.cells is None:
        yield "", _parse(_text(code.path), str(code.path))
    for number, cell in (code.cells or {}).items():
        yield f":cell {number}", _parse(cell.encode(), f"{code.path}:cell {number}")


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the code: {error.strerror}", where=str(path)) from error


@contextmanager
def standing_in(names: Mapping[str, type]) -> Iterator[None]:
    """Let classes be found, and pickled, under the dotted names that a checkpoint has for them.

    Args:
        names: The class for each name, such as `__main__.Net`.
    """
    homes = {cls: cls.__module__ for cls in names.values()}
    added: list[str] = []
    replaced: list[tuple[ModuleType, str, object]] = []
    try:
        for name, cls in names.items():
            module_name, _, attribute = name.rpartition(".")
            for parent in _with_parents(module_name):
                if parent not in sys.modules:
                    sys.modules[parent] = ModuleType(parent)
                    added.append(parent)
            module = sys.modules[module_name]
            replaced.append((module, attribute, vars(module).get(attribute, _MISSING)))
            setattr(module, attribute, cls)
            cls.__module__ = module_name
        yield
    finally:
        for module, attribute, before in reversed(replaced):
            if before is _MISSING:
                delattr(module, attribute)
            else:
                setattr(module, attribute, before)
        for parent in added:
            del sys.modules[parent]
        for cls, home in homes.items():
            cls.__module__ = home


def _with_parents(module: str) -> Iterator[str]:
    # Python's pickler imports the outermost package of a class that it writes.
    parts = module.split(".")
    return (".".join(parts[: count + 1]) for count in range(len(parts)))


def _parse(text: bytes, name: str) -> ast.Module:
    try:
        return ast.parse(text, filename=name)
    except SyntaxError as error:
        where = f"{name}:{error.lineno}" if error.lineno else name
        raise InputError(f"not valid Python: {error.msg}", where=where) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise InputError(f"not valid Python: {error}", where=name) from error


def _defines(statement: ast.stmt) -> bool:
    match statement:
        case ast.Import() | ast.ImportFrom() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Pass():
            return True
        case ast.Assign(targets=targets, value=value):
            return all(isinstance(target, ast.Name) for target in targets) and _constant(value)
        case ast.AnnAssign(target=ast.Name(), value=ast.expr() as value):
            return _constant(value)
        case ast.Try(body=body, handlers=handlers, orelse=orelse, finalbody=finalbody):
            nested = [*body, *orelse, *finalbody, *(line for handler in handlers for line in handler.body)]
            return all(map(_defines, nested))
        case _:
            return False


def _constant(value: ast.expr) -> bool:
    dotted = value
    while isinstance(dotted, ast.Attribute):
        dotted = dotted.value
    if isinstance(dotted, ast.Name):
        return True
    try:
        ast.literal_eval(value)
    except (ValueError, TypeError):
        return False
    return True


def _failure(told: str, name: str, error: BaseException) -> InputError:
    line = _line(name, error.__traceback__)
    where = f"{told}:{line}" if line else told
    match error:
        case ImportError(name=str(name)):
            hint = lacking(error) or f"install {name}, or run where it is"
            return InputError(f"cannot import {name}: {error}", where=where, hint=hint)
        case ImportError():
            hint = "a file that imports from its own package is named by its package: --allow PACKAGE"
            return InputError(f"cannot import: {error}", where=where, hint=hint)
        case _:
            return InputError(f"{type(error).__name__}: {error}", where=where, hint=_NOT_RUN)


def _line(name: str, traceback: TracebackType | None) -> int | None:
    line = None
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == name:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _free_name(stem: str) -> str:
    # A file called torch.py must not take the place of torch while its own imports run.
    while stem in sys.modules:
        stem = f"_{stem}"
    return stem


@contextmanager
def _registered(module: ModuleType) -> Iterator[None]:
    sys.modules[module.__name__] = module
    try:
        yield
    finally:
        sys.modules.pop(module.__name__, None)


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = before
