"""The configuration: `[tool.bnlint]` in pyproject.toml, or bnlint.toml, as one frozen value."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from bnlint.errors import UsageError


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run.

    `select` and `ignore` hold rule codes, prefixes of them (`BN1`) or `ALL`; `exclude` holds patterns in
    the syntax of .gitignore.
    """

    select: tuple[str, ...] = ("ALL",)
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def load(start: Path, *, override: Path | None = None, isolated: bool = False) -> Config:
    """Read the configuration that holds for a file or folder.

    Args:
        start: The nearest bnlint.toml, or pyproject.toml with a `[tool.bnlint]`, at or above it counts.
        override: Read this file instead.
        isolated: Read no file at all.

    Raises:
        UsageError: If a configuration file is malformed or has a key that does not exist.
    """
    if isolated:
        return Config()
    if override is not None:
        return _config(_table(override), override)
    start = start.absolute()
    for folder in (start, *start.parents):
        for file in _candidates(folder):
            if (table := _table(file)) is not None:
                return _config(table, file)
    return Config()


def selected(config: Config, code: str) -> bool:
    """Whether findings of this rule are wanted; `ignore` wins over `select`."""
    return _matches(config.select, code) and not _matches(config.ignore, code)


def require_known(config: Config, codes: Collection[str]) -> None:
    """Demand that everything selected or ignored is a code of the catalog, a prefix of one, or `ALL`.

    Raises:
        UsageError: Naming the nearest code.
    """
    for pattern in (*config.select, *config.ignore):
        if not pattern or not any(_matches((pattern,), code) for code in codes):
            near = difflib.get_close_matches(pattern, sorted(codes), n=1, cutoff=0.0)
            hint = f"the nearest is `{near[0]}`" if near else None
            raise UsageError(f"no rule has the code `{pattern}`", hint=hint)


def _matches(patterns: tuple[str, ...], code: str) -> bool:
    return any(pattern == "ALL" or code.startswith(pattern) for pattern in patterns)


def _candidates(folder: Path) -> Iterator[Path]:
    return (file for name in ("bnlint.toml", "pyproject.toml") if (file := folder / name).is_file())


def _table(file: Path) -> object:
    """The table that is ours, None where a pyproject.toml has none."""
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(file)) from error
    if file.name != "pyproject.toml":
        return document
    tool = document.get("tool")
    return tool.get("bnlint") if isinstance(tool, dict) else None


def _config(table: object, file: Path) -> Config:
    if table is None:
        raise UsageError("has no [tool.bnlint]", where=str(file))
    if not isinstance(table, dict):
        raise UsageError("`tool.bnlint` must be a table", where=str(file))
    known = [field.name for field in fields(Config)]
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"unknown key `{key}`", where=str(file), hint=f"the nearest known key is `{near}`")
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise UsageError(f"`{key}` must be a list of strings", where=str(file), hint=f'such as `{key} = ["..."]`')
    return Config(**{key: tuple(value) for key, value in table.items()})
