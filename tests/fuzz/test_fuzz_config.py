"""Configuration and baselines: whatever stands in the file, it is taken or refused with a reason."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st

from bnlint import baseline
from bnlint.config import KEYS, load
from bnlint.configtext import as_toml
from bnlint.errors import BnlintError, told
from bnlint.finding import Finding, Severity, SourceLocation
from bnlint.settings import Settings
from bnlint.source.discover import is_excluded

TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        [
            *("BN1", "BN101", "ALL", "bn101", "BN999", "", "tests/**", "!a.py"),
            *("[", "[!a", "**/", "\\", "/", "//", "..", "~"),
            *("a.b", ".m", "acme.ops.f", "a..b", "1.2", "a.b\n"),
            *("error", "note", "warning", "full", "json", "x.json", "\0"),
            *("lint", ".", "/", "a" * 300, "é/名", "*" * 40 + "a"),
            *("{a,b}", "a?[b-a]", "#x", " a ", "a\\ ", "[[:alpha:]]"),
        ]
    ),
)  # fmt: skip
VALUES = st.recursive(
    st.one_of(TEXTS, st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.none(), st.dates(), st.times()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
LISTS = st.lists(TEXTS, max_size=4)
KEYED = st.dictionaries(
    st.one_of(st.sampled_from([*KEYS, "slect", "per_file_ignores", "tool"]), st.text(max_size=6)),
    st.one_of(VALUES, LISTS, LISTS, st.dictionaries(TEXTS, LISTS, max_size=2)),
    max_size=5,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=6)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=5,
)
FINDING = Finding("BN101", "name", Severity.ERROR, "message", SourceLocation("a.py", 1, 1, 1, 2))


def spelled(value: object) -> str:
    """Write a value as TOML; what TOML has not comes out wrong, which is a case too."""
    match value:
        case bool() | None:
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False)
        case list():
            return f"[{', '.join(map(spelled, value))}]"
        case dict():
            return f"{{{', '.join(f'{spelled(key)} = {spelled(each)}' for key, each in value.items())}}}"
        case _:
            return str(value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config")


def used(folder: Path) -> None:
    """Do what a run does with a configuration."""
    config = load(folder)
    settings = Settings({}, here=folder)
    settings.wanted(FINDING)
    is_excluded(folder / "a.py", settings.excludes)
    settings.vocabulary(folder / "a.py")
    settings.pages()
    if settings.baseline is not None:
        baseline.read(settings.baseline)
    _ = settings.cache
    again = tomllib.loads("\n".join(as_toml(config, key) for key in KEYS))
    assert {key: again.get(key) for key in config.given} == tomllib.loads((folder / "bnlint.toml").read_text("utf-8"))


@tried(100)
@given(KEYED)
def test_any_table_is_taken_or_refused(folder: Path, table: dict[str, object]) -> None:
    text = "\n".join(f"{spelled(key)} = {spelled(value)}" for key, value in table.items())
    (folder / "bnlint.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        used(folder)
    except BnlintError as error:
        assert all(line.isprintable() for line in told(error).split("\n"))


@tried(50)
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(str.encode)))
def test_any_bytes_are_taken_or_refused(folder: Path, content: bytes) -> None:
    (folder / "bnlint.toml").write_bytes(content)
    try:
        used(folder)
    except BnlintError as error:
        assert all(line.isprintable() for line in told(error).split("\n"))


FIELDS = ("path", "code", "symbol", "module", "text", "count")
ENTRIES = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, st.one_of(st.text(max_size=4), JSON)))


@tried(50)
@given(st.one_of(JSON, st.fixed_dictionaries({"version": st.one_of(st.just(1), JSON), "findings": st.lists(ENTRIES)})))
def test_any_baseline_is_taken_or_refused(folder: Path, document: object) -> None:
    path = folder / "known.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    try:
        known = baseline.read(path)
        known.stale(known.new([FINDING], lambda _: "x"), lambda _: "x", lambda _: True)
    except BnlintError as error:
        assert all(line.isprintable() for line in told(error).split("\n"))
