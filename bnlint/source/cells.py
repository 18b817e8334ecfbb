"""Read the cells of a notebook: which are Python, and what of them."""

from __future__ import annotations

import ast
import json
import textwrap
import warnings
from typing import Any

from bnlint.catalog import BY_CODE
from bnlint.finding import Finding, SourceLocation
from bnlint.source.magics import without_magics
from bnlint.source.notebook import Cell, Notebook
from bnlint.source.notebook_file import decoded
from bnlint.source.text import LINE_ENDS

_PYTHON = ("python", "ipython", "sage")
#: how kernels of other languages are called, where the notebook does not say its language
_OTHER_KERNELS = ("ir", "julia", "javascript", "typescript", "bash", "scala", "spylon", "octave", "xcpp", "rust")


def read_notebook(source: bytes, path: str) -> Notebook:
    """Read a notebook; one in another language has no cells of Python."""
    try:
        document = json.loads(decoded(source).text)
    except json.JSONDecodeError as error:
        return _unreadable(path, f"{error.msg[:1].lower()}{error.msg[1:]}", error.lineno, error.colno)
    except UnicodeDecodeError:
        return _unreadable(path, "it is not in UTF-8")
    except (ValueError, RecursionError) as error:
        return _unreadable(path, str(error))
    cells = _cells(document)
    if cells is None:
        return _unreadable(path, "it has no list of cells")
    if not _is_python(document):
        return Notebook(path)
    read: list[Cell] = []
    broken: list[Finding] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, cell in enumerate(cells, 1):
            text = _source(cell)
            if text is not None:
                python, reason = _python(text) if _in_python(cell) else ("", None)
                read.append(Cell(number, text, python or _blank(text), _defines(python)))
                broken += [_invalid(reason, path, number)] if reason is not None else []
    return Notebook(path, tuple(read), tuple(broken))


def _python(text: str) -> tuple[str, Exception | None]:
    """Return what of a cell is Python, and why that cannot be told."""
    if _error(text) is None:
        return text, None
    python = without_magics(text)
    error = _error(python) if python is not None else None
    if python is not None and error is None:
        return python, None
    # A cell that is indented as a whole runs too.
    return "", None if python is None or _error(textwrap.dedent(python)) is None else error


def _error(text: str) -> Exception | None:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error
    return None


def _defines(python: str) -> frozenset[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset(node.name for node in ast.parse(python).body if isinstance(node, kinds))


def _invalid(error: Exception, path: str, number: int) -> Finding:
    line, column = (max(getattr(error, name, None) or 1, 1) for name in ("lineno", "offset"))
    said = error.msg if isinstance(error, SyntaxError) else str(error) or "it is nested too deeply to be parsed"
    return _broken(SourceLocation(path, line, column, line, column, cell=number), f"not valid Python: {said}")


def _blank(text: str) -> str:
    return "".join(LINE_ENDS.findall(text))


def _unreadable(path: str, why: str, line: int = 1, column: int = 1) -> Notebook:
    finding = _broken(SourceLocation(path, line, column, line, column), f"not a notebook: {why}")
    return Notebook(path, broken=(finding,))


def _broken(where: SourceLocation, message: str) -> Finding:
    rule = BY_CODE["BN001"]
    return Finding(rule.code, rule.name, rule.severity, message.splitlines()[0], where)


def _cells(document: Any) -> list[Any] | None:
    """Return the cells; in version 3 of the format they were in worksheets, and older ones are passed over."""
    match document:
        case {"nbformat": int(version)} if version < 3:
            return []
        case {"cells": list(cells)}:
            return cells
        case {"cells": _}:
            return None
        case {"worksheets": list(sheets)} if all(isinstance(sheet, dict) for sheet in sheets):
            listed = [sheet.get("cells", []) for sheet in sheets]
            return [cell for cells in listed for cell in cells] if all(isinstance(c, list) for c in listed) else None
        case {"nbformat": int(version), **rest} if version < 4 and "worksheets" not in rest:
            return []
        case _:
            return None


def _source(cell: Any) -> str | None:
    """Return the source of a code cell."""
    match cell:
        case {"cell_type": "code", "source": source} | {"cell_type": "code", "input": source}:
            pass
        case _:
            return None
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        return "".join(source)
    return source if isinstance(source, str) else None


def _is_python(document: dict[str, Any]) -> bool:
    """Whether the language of a notebook is Python, as that of one which does not tell is."""
    match document.get("metadata"):
        case {"language_info": {"name": str(language)}} | {"kernelspec": {"language": str(language)}}:
            return language.lower().startswith(_PYTHON)
        case {"language": str(language)}:
            return language.lower().startswith(_PYTHON)
        case {"kernelspec": {"name": str(kernel)}}:
            return not any(kernel == name or kernel.startswith(f"{name}-") for name in _OTHER_KERNELS)
        case _:
            return True


def _in_python(cell: dict[str, Any]) -> bool:
    match cell:
        case {"language": str(language)} | {"metadata": {"vscode": {"languageId": str(language)}}}:
            return language.lower().startswith(_PYTHON)
        case _:
            return True
