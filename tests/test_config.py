from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bnlint.config import Config, load, require_known, selected
from bnlint.errors import UsageError

CODES = {"BN001": "syntax-error", "BN101": "first", "BN102": "second", "BN103": "third", "BN201": "fourth"}


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def test_default_selects_everything(tmp_path: Path) -> None:
    assert load(tmp_path, isolated=True) == Config() == Config(("ALL",), (), ())


def test_every_key_is_read_from_either_file(tmp_path: Path) -> None:
    keys = 'select = ["BN1"]\nignore = ["BN102"]\nexclude = ["vendored/"]\n'
    expected = Config(("BN1",), ("BN102",), ("vendored/",))
    write(tmp_path / "a" / "pyproject.toml", f"[project]\nname = 'x'\n[tool.bnlint]\n{keys}")
    write(tmp_path / "b" / "bnlint.toml", keys)
    assert load(tmp_path / "a") == load(tmp_path / "b") == expected


def test_nearest_configuration_wins_whole(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.bnlint]\nselect = ["BN1"]\nignore = ["BN102"]\n')
    write(tmp_path / "a" / "pyproject.toml", "[tool.ruff]\n")
    write(tmp_path / "a" / "b" / "bnlint.toml", 'select = ["BN2"]\n')
    file = write(tmp_path / "a" / "b" / "c" / "x.py", "")
    assert load(tmp_path / "a").select == ("BN1",)
    assert load(file) == load(file.parent) == Config(select=("BN2",))


def test_bnlint_toml_wins_over_pyproject_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", '[tool.bnlint]\nselect = ["BN1"]\n')
    write(tmp_path / "bnlint.toml", 'select = ["BN2"]\n')
    assert load(tmp_path).select == ("BN2",)


def test_relative_start_and_start_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "bnlint.toml", 'select = ["BN2"]\n')
    (tmp_path / "src").mkdir()
    monkeypatch.chdir(tmp_path / "src")
    assert load(Path()).select == load(Path("gone.py")).select == ("BN2",)


def test_override_and_isolated_pass_over_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / "bnlint.toml", 'select = ["BN2"]\n')
    other = write(tmp_path / "ci.toml", 'select = ["BN103"]\n')
    project = write(tmp_path / "sub" / "pyproject.toml", '[tool.bnlint]\nselect = ["BN102"]\n')
    assert load(tmp_path, override=other).select == ("BN103",)
    assert load(tmp_path, override=project).select == ("BN102",)
    assert load(tmp_path, isolated=True) == Config()


@pytest.mark.parametrize(("key", "near"), [("slect", "select"), ("ignores", "ignore"), ("excluded", "exclude")])
def test_unknown_key_names_the_nearest(tmp_path: Path, key: str, near: str) -> None:
    file = write(tmp_path / "bnlint.toml", f'{key} = ["BN1"]\n')
    with pytest.raises(UsageError, match=f"unknown key `{key}`") as caught:
        load(tmp_path)
    assert caught.value.where == str(file)
    assert f"`{near}`" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("line-length = 100", "`bnlint config --isolated` lists the keys"),  # like none of them
        ('[tool.bnlint]\nselect = ["BN1"]', "[tool.bnlint] is for pyproject.toml; this file has its keys at the top"),
    ],
)
def test_what_is_like_no_key_is_not_likened_to_one(tmp_path: Path, text: str, hint: str) -> None:
    write(tmp_path / "bnlint.toml", text)
    with pytest.raises(UsageError, match="unknown key") as caught:
        load(tmp_path)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('select = "BN1"', "`select` must be a list of strings"),
        ("ignore = [1]", "`ignore` must be a list of strings"),
        ("exclude = true", "`exclude` must be a list of strings"),
        ("select = [", "not valid TOML"),
        ('select = ["\\ud800"]', "not valid TOML"),
    ],
)
def test_malformed_file_is_a_usage_error(tmp_path: Path, text: str, what: str) -> None:
    file = write(tmp_path / "bnlint.toml", text)
    with pytest.raises(UsageError, match=what) as caught:
        load(tmp_path)
    assert caught.value.where == str(file)


def test_bytes_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "bnlint.toml").write_bytes(b"# \xff\n")
    with pytest.raises(UsageError, match="not valid TOML"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("text", "what"),
    [("[tool]\nbnlint = 3\n", "must be a table"), ("[tool.ruff]\n", "has no"), ("tool = 3\n", "has no")],
)
def test_named_pyproject_must_have_our_table(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        load(tmp_path, override=write(tmp_path / "pyproject.toml", text))


def test_named_file_must_exist(tmp_path: Path) -> None:
    for override in (tmp_path / "gone.toml", tmp_path):
        with pytest.raises(UsageError, match="cannot be read"):
            load(tmp_path, override=override)


@pytest.mark.parametrize(
    ("select", "ignore", "expected"),
    [
        (("ALL",), (), tuple(CODES)),
        (("BN1",), (), ("BN101", "BN102", "BN103")),
        (("BN101", "BN2"), (), ("BN101", "BN201")),
        (("ALL",), ("BN1",), ("BN001", "BN201")),
        (("BN101",), ("BN101",), ()),
        (("BN101",), ("BN1",), ()),
        (("BN1",), ("ALL",), ()),
        ((), (), ()),
    ],
)
def test_selection(select: tuple[str, ...], ignore: tuple[str, ...], expected: tuple[str, ...]) -> None:
    config = Config(select, ignore)
    require_known(config, CODES)
    assert tuple(code for code in CODES if selected(config, code)) == expected


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("BN111", "`BN101`"),
        ("bn102", "`BN102`"),
        ("BN21", "`BN201`"),
        ("", "bnlint rule"),
        ("E501", "bnlint rule"),
        ("second", "`BN102`"),
        ("Third", "`BN103`"),
    ],
)
def test_unknown_code_names_the_nearest_or_where_they_are_listed(pattern: str, near: str) -> None:
    for config in (Config(select=(pattern,)), Config(ignore=(pattern,))):
        with pytest.raises(UsageError, match=f"`{pattern}`") as caught:
            require_known(config, CODES)
        assert (caught.value.hint or "").endswith(near)


def test_light_modules_import_neither_rich_nor_torch_nor_libcst() -> None:
    modules = "bnlint.config, bnlint.pages, bnlint.report.json, bnlint.report.concise"
    modules += ", bnlint.source.discover, bnlint.source.suppress"
    code = f"import sys, {modules}; print(*sorted({{'rich', 'torch', 'libcst'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
