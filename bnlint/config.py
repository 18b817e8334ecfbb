"""The configuration: `[tool.bnlint]` in pyproject.toml, or bnlint.toml, as one frozen value."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from bnlint.errors import UsageError, nearest, one_line
from bnlint.finding import Severity
from bnlint.paths import exists, is_file, is_folder
from bnlint.report import FORMATS
from bnlint.vocabulary import Meaning, Word, is_method, is_path


class _Unfit(ValueError):
    """A value that a key cannot have: what it must be, and an example."""


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _Unfit("a list of strings", '["..."]')
    return tuple(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise _Unfit("a string", '"..."')
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("true or false", "true")
    return value


def _severity(value: object) -> Severity:
    if value not in tuple(Severity):
        raise _Unfit(f"one of {', '.join(Severity)}", '"error"')
    return Severity(str(value))


def _format(value: object) -> str:
    if value not in FORMATS:
        raise _Unfit(f"one of {', '.join(FORMATS)}", '"concise"')
    return str(value)


def _ignores(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    try:
        if isinstance(value, dict):
            return tuple((pattern, _strings(codes)) for pattern, codes in value.items())
    except _Unfit:
        pass
    raise _Unfit("a table of lists of strings", '{ "tests/**" = ["BN1"] }')


def _names(value: object) -> tuple[str, ...]:
    names = _strings(value)
    wrong = next((name for name in names if not (is_path(name) or is_method(name))), None)
    if wrong is not None:
        raise _Unfit(f"a list of dotted paths or methods; `{wrong}` is neither", '["acme.ops.name", ".name"]')
    return names


def _paths(value: object) -> tuple[str, ...]:
    names = _strings(value)
    wrong = next((name for name in names if not is_path(name)), None)
    if wrong is not None:
        raise _Unfit(f"a list of dotted paths; `{wrong}` is none", '["acme.layers.Norm"]')
    return names


def _key(default: Any, read: Callable[[object], Any], meaning: str) -> Any:
    return field(default=default, metadata={"read": read, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class Config:
    """The settings of one run, or of one file of it; docs/configuration.md is made from it.

    `file` is the file that was read, and `given` the keys that it sets.
    """

    select: tuple[str, ...] = _key(
        ("ALL",), _strings, "The rules that run: full codes (`BN101`), prefixes (`BN1`) or `ALL`."
    )
    ignore: tuple[str, ...] = _key((), _strings, "Rules that do not run although they are selected.")
    exclude: tuple[str, ...] = _key(
        (),
        _strings,
        "Paths that are left out, in the syntax of `.gitignore` and relative to the folder of the configuration file. "
        "Virtual environments, build folders and the like are always left out.",
    )
    extend_select: tuple[str, ...] = _key((), _strings, "More rules, beside those of `select`.")
    extend_exclude: tuple[str, ...] = _key((), _strings, "More paths, beside those of `exclude`.")
    force_exclude: bool = _key(
        False, _flag, "Leave excluded paths out even where the command line names them, as pre-commit does."
    )
    respect_gitignore: bool = _key(True, _flag, "Leave out what `.gitignore` files name.")
    per_file_ignores: tuple[tuple[str, tuple[str, ...]], ...] = _key(
        (),
        _ignores,
        "Rules to ignore in some files (after `!`: in all others): patterns as in `exclude`, lists of rules.",
    )
    fail_on: Severity = _key(  # noqa: RUF009 (an enum cannot change)
        Severity.WARNING, _severity, "The least severity that makes the exit code 1: `error`, `warning` or `note`."
    )
    unsafe_fixes: bool = _key(False, _flag, "Let fixes change forward values where that is needed.")
    output_format: str = _key("full", _format, f"How findings are printed: {', '.join(f'`{f}`' for f in FORMATS)}.")
    baseline: str | None = _key(
        None, _text, "A file of known findings that are not reported, relative to the folder of the configuration file."
    )
    cache_dir: str | None = _key(
        None,
        _text,
        "Where to keep what was found, relative to the folder of the configuration file. By default it is "
        "`.bnlint_cache` there, or in the working folder.",
    )
    stops: tuple[str, ...] = _key(
        (),
        _names,
        "Functions and methods of yours that stop a gradient, and otherwise give back what they get. "
        "[How names are written](vocabulary.md).",
    )
    statistics: tuple[str, ...] = _key(
        (), _names, "Functions and methods of yours that compute a statistic of their first tensor."
    )
    pass_through: tuple[str, ...] = _key(
        (), _names, "Functions and methods of yours that give back their first tensor, and let its gradient through."
    )
    norm_classes: tuple[str, ...] = _key(
        (), _paths, "Classes of yours that are normalization layers, or bases of them."
    )
    rule_folders: tuple[str, ...] = _key(
        (),
        _strings,
        "Folders with [rule pages of your own](vocabulary.md#rules-of-your-own), relative to the folder of the "
        "configuration file.",
    )
    file: Path | None = field(default=None, compare=False)
    given: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def rules(self) -> tuple[str, ...]:
        """All patterns of codes, wherever they stand."""
        return (
            *(*self.select, *self.extend_select, *self.ignore),
            *(code for _, codes in self.per_file_ignores for code in codes),
        )

    @property
    def words(self) -> tuple[Word, ...]:
        """The names that are declared, but for those that rule pages claim."""
        listed = {
            Meaning.STOP: self.stops,
            Meaning.STATISTIC: self.statistics,
            Meaning.PASS_THROUGH: self.pass_through,
            Meaning.NORM: self.norm_classes,
        }
        return tuple(Word(name, meaning) for meaning, names in listed.items() for name in names)


#: what configuration files are called; in a folder that has both, the first counts
FILES = ("bnlint.toml", "pyproject.toml")

#: the keys of a configuration file, in the order of the reference
KEYS: dict[str, str] = {each.name.replace("_", "-"): each.name for each in fields(Config) if each.metadata}


def meaning(key: str) -> str:
    """Say what a key does."""
    return str(next(each.metadata["meaning"] for each in fields(Config) if each.name == KEYS[key]))


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
    found = (config for folder in (start, *start.parents) if (config := load_folder(folder)) is not None)
    return next(found, Config())


def load_folder(folder: Path) -> Config | None:
    """Read the configuration file that lies in a folder, None where there is none.

    Raises:
        UsageError: If it is malformed or has a key that does not exist.
    """
    for file in _candidates(folder):
        if exists(file) and not (is_file(file) or is_folder(file)):
            raise UsageError("not a regular file", where=str(file))  # to open a pipe would wait for its writer
        if (table := _table(file)) is not None:
            return _config(table, file)
    return None


def selected(config: Config, code: str) -> bool:
    """Whether findings of this rule are wanted; `ignore` wins over `select`."""
    return _matches((*config.select, *config.extend_select), code) and not _matches(config.ignore, code)


def matches(patterns: Collection[str], code: str) -> bool:
    """Whether one of these codes, prefixes or `ALL` covers a code."""
    return _matches(tuple(patterns), code)


def require_known(config: Config, names: Mapping[str, str]) -> None:
    """Demand that everything selected or ignored is a code, a prefix of one, or `ALL`.

    Args:
        config: The settings.
        names: The name of each rule, by code.

    Raises:
        UsageError: Naming the code that was meant, where one is near.
    """
    for pattern in config.rules:
        if not pattern or not any(_matches((pattern,), code) for code in names):
            where = str(config.file) if config.file is not None else None
            raise UsageError(f"no rule has the code `{one_line(pattern)}`", where=where, hint=_meant(pattern, names))


def _meant(pattern: str, names: Mapping[str, str]) -> str:
    """Say which code may have been meant."""
    named = next((code for code, name in names.items() if name == pattern.lower()), None)
    if named is not None:
        return f"the code of this rule is `{named}`"
    near = nearest(pattern.upper(), sorted(names), cutoff=0.6)
    return f"the nearest is `{near}`" if near else "bnlint rule"  # which lists them


def _matches(patterns: tuple[str, ...], code: str) -> bool:
    return any(pattern == "ALL" or code.startswith(pattern) for pattern in patterns)


def _candidates(folder: Path) -> Iterator[Path]:
    return (file for name in FILES if os.path.lexists(file := folder / name))


def _table(file: Path) -> object:
    """The table that is ours, None where a pyproject.toml has none."""
    import tomllib

    try:
        document = tomllib.loads(file.read_text(encoding="utf-8-sig"))  # Windows editors put a BOM in front
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(file)) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"not valid TOML, which is UTF-8: {error}", where=str(file)) from error
    except ValueError as error:
        raise UsageError(f"not valid TOML: {error}", where=str(file)) from error
    except RecursionError as error:
        raise UsageError("not valid TOML: nested too deeply", where=str(file)) from error
    if file.name != "pyproject.toml":
        return document
    tool = document.get("tool")
    return tool.get("bnlint") if isinstance(tool, dict) else None


def _config(table: object, file: Path) -> Config:
    if table is None:
        raise UsageError("has no [tool.bnlint]", where=str(file))
    if not isinstance(table, dict):
        raise UsageError("`tool.bnlint` must be a table", where=str(file))
    readers = {each.name: each.metadata["read"] for each in fields(Config) if each.metadata}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise UsageError(f"unknown key `{one_line(key)}`", where=str(file), hint=_instead_of(key))
        try:
            values[KEYS[key]] = readers[KEYS[key]](value)
        except _Unfit as unfit:
            what, example = unfit.args
            hint = f"such as `{key} = {example}`"
            raise UsageError(f"`{key}` must be {what}", where=str(file), hint=hint) from None
    return Config(**values, file=file.absolute(), given=frozenset(table))


def _instead_of(key: str) -> str:
    """Say what to write where a key is unknown."""
    if key == "tool":
        return "[tool.bnlint] is for pyproject.toml; this file has its keys at the top"
    near = nearest(key, KEYS, cutoff=0.5)
    return f"the nearest known key is `{near}`" if near else "`bnlint config --isolated` lists the keys"
