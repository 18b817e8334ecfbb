"""The cache: a hit says what a check would say, and whatever has changed is a miss."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from terminal import BAD, FIXED, UNFIXABLE, UNUSED, Cli

from bnlint import cache
from bnlint.cache import Cache
from bnlint.source import check as static
from bnlint.source.aspects import CONTENT, NAMES, THERE
from bnlint.source.checked import Checked

ROOT = Path(__file__).parents[2]
HELPER = "def center(x):\n    return x.mean().detach()\n"
USE = "from pkg.helper import center\n\n\ndef f(x):\n    return x - center(x)\n"


def age(folder: Path) -> None:
    """Let files be older than the next run: what changes during a run is not kept."""
    for file in folder.rglob("*.py"):
        os.utime(file, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def warm(cli: Cli) -> Cli:
    """A folder with findings of several kinds, all of them in the cache."""
    cli.write("a.py", BAD)
    cli.write("b.py", UNFIXABLE)
    cli.write("c.py", UNUSED)
    cli.write("d.py", "def f(:\n")
    cli.write("pkg/__init__.py", "")
    cli.write("pkg/helper.py", HELPER)
    cli.write("pkg/use.py", USE)
    age(cli.folder)
    cli("check")
    return cli


def checked_again(cli: Cli, monkeypatch: pytest.MonkeyPatch, *options: str) -> list[str]:
    """The files that a further run checks."""
    seen: list[str] = []
    inspect = static.inspect_source

    def noted(source: bytes, path: str, *rest: object) -> object:
        seen.append(path)
        return inspect(source, path, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(static, "inspect_source", noted)
        cli("check", *options)
    return seen


FORMATS = ["full", "json", "sarif"]


@pytest.mark.parametrize("output_format", FORMATS)
def test_a_warm_run_says_the_same(warm: Cli, monkeypatch: pytest.MonkeyPatch, output_format: str) -> None:
    assert checked_again(warm, monkeypatch) == []
    options = ("check", "--output-format", output_format)
    fresh = warm(*options, "--no-cache")
    assert warm(*options) == fresh
    assert "BN101" in fresh.out and "BN104" in fresh.out and "BN002" in fresh.out and "BN001" in fresh.out


def test_other_settings_need_no_new_check(warm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked_again(warm, monkeypatch, "--select", "BN104") == []
    assert warm.lines("--select", "BN104") == ["b.py:5:21: BN104"]
    assert len(warm.lines()) == 5


def test_a_changed_file_is_checked_again(warm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    warm.write("a.py", FIXED)
    assert checked_again(warm, monkeypatch) == ["a.py"]
    assert not any(line.startswith("a.py") for line in warm.lines())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("pkg/helper.py", HELPER.replace(".detach()", "")),
        ("pkg/helper.py", None),
        ("pkg/helper/__init__.py", "def center(x):\n    return x.mean()\n"),
    ],
    ids=["changed", "gone", "hidden by a package"],
)
def test_what_a_file_rests_on_counts_too(
    warm: Cli, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None
) -> None:
    assert any(line.startswith("pkg/") for line in warm.lines())
    if content is None:
        (warm.folder / name).unlink()
    else:
        warm.write(name, content)
    assert warm.lines() == warm.lines("--no-cache")
    assert not any(line.startswith("pkg/") for line in warm.lines())


def test_a_file_that_appears_counts_too(cli: Cli) -> None:
    cli.write("pkg/__init__.py", "")
    cli.write("pkg/use.py", USE)
    age(cli.folder)
    assert cli.lines() == []
    cli.write("pkg/helper.py", HELPER)
    assert cli.lines() == cli.lines("--no-cache") == ["pkg/helper.py:2:20: BN101"]


def test_what_changes_during_the_run_is_not_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("pkg/__init__.py", "")
    cli.write("pkg/helper.py", HELPER)
    cli.write("pkg/use.py", USE)
    age(cli.folder)
    os.utime(cli.folder / "pkg" / "helper.py", (4_000_000_000, 4_000_000_000))
    cli("check")
    assert "pkg/use.py" in checked_again(cli, monkeypatch)


def test_names_are_those_of_this_run(warm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warm.lines("./a.py") == ["a.py:2:24: BN101"]
    monkeypatch.chdir(warm.folder / "pkg")
    assert warm.lines("--cache-dir", "../.bnlint_cache", "../a.py", "use.py") == [
        "../a.py:2:24: BN101",
        "helper.py:2:20: BN101",
    ]


def test_an_entry_holds_as_long_as_what_it_rests_on_is_the_same_and_has_the_same_name(tmp_path: Path) -> None:
    file, rest, beside = tmp_path / "a.py", tmp_path / "rest", tmp_path / "beside"

    def opened(spelled: Callable[[Path], str] = str) -> Cache:
        return Cache(tmp_path / "kept", spelled, lambda _, __: "")

    opened().store(file, b"x", Checked((), ("f",)), {str(rest): [CONTENT, NAMES], str(beside): [THERE]})
    assert opened().load(file, b"x") == Checked((), ("f",))
    assert opened().load(file, b"y") is None
    assert opened().load(tmp_path / "b.py", b"x") is None
    assert opened(lambda path: path[-4:]).load(file, b"x") is None  # type: ignore[index]
    beside.mkdir()
    assert opened().load(file, b"x") is None
    beside.rmdir()
    rest.mkdir()
    assert opened().load(file, b"x") is None


def test_a_changed_file_that_looks_the_same_is_no_reason_for_a_new_check(tmp_path: Path) -> None:
    file, rest = tmp_path / "a.py", tmp_path / "rest"

    def write(text: str, time: int = 1_000_000_000) -> None:
        rest.write_text(text)
        os.utime(rest, (time, time))

    def opened(*looks: str, spelled: Callable[[str], str] = str) -> Cache:
        seen = list(looks)
        return Cache(tmp_path / "kept", spelled, lambda _, __: seen.pop())

    write("1")
    opened("as before").store(file, b"x", Checked((), ("f",)), {str(rest): [NAMES, THERE]})
    write("2")
    assert opened("different").load(file, b"x") is None
    assert opened("as before", spelled=lambda path: path[-4:]).load(file, b"x") is None
    assert opened("as before").load(file, b"x") == Checked((), ("f",))
    assert opened().load(file, b"x") == Checked((), ("f",)), "the new state is kept"
    write("3", 4_000_000_000)
    assert opened("as before").load(file, b"x") is None, "it changes just now"
    rest.unlink()
    assert opened("none").load(file, b"x") is None


def test_another_bnlint_knows_nothing(warm: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_version", lambda: "another")
    assert len(checked_again(warm, monkeypatch)) == 7


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "null",
        lambda text: "[" * 100_000,
        lambda text: json.dumps(json.loads(text) | {"findings": [{}]}),
        lambda text: json.dumps(json.loads(text) | {"findings": [1]}),
        lambda text: json.dumps(json.loads(text) | {"rests": None}),
        lambda text: json.dumps({key: value for key, value in json.loads(text).items() if key != "lost"}),
        lambda text: text.replace('"error"', '"fatal"').replace('"warning"', '"fatal"'),
    ],
)
def test_a_damaged_cache_is_a_miss(warm: Cli, damage: object) -> None:
    before = warm("check", "--no-cache")
    for entry in (warm.folder / ".bnlint_cache").glob("*.json"):
        entry.write_text(damage(entry.read_text()))  # type: ignore[operator]
    assert warm("check") == before
    assert warm("check") == before


def test_the_folder_ignores_itself(warm: Cli) -> None:
    subprocess.run(["git", "init", "-q"], cwd=warm.folder, check=True)
    listed = subprocess.run(
        ["git", "status", "--porcelain", "-uall"], cwd=warm.folder, check=True, capture_output=True, text=True
    )
    assert "a.py" in listed.stdout and "bnlint_cache" not in listed.stdout


def test_where_it_lies(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("sub/a.py", BAD)
    cli("check", "--no-cache")
    assert not list(cli.folder.glob("**/.bnlint_cache"))
    cli("check", "--cache-dir", "kept")
    monkeypatch.setenv("BNLINT_CACHE_DIR", "by variable")
    cli("check")
    monkeypatch.delenv("BNLINT_CACHE_DIR")
    cli.write("bnlint.toml", 'cache-dir = "by configuration"\n')
    monkeypatch.chdir(cli.folder / "sub")
    cli("check")
    folders = ("kept", "by variable", "by configuration")
    assert [len(list((cli.folder / folder).glob("*.json"))) for folder in folders] == [1, 1, 1]


def test_a_cache_that_cannot_be_written_is_done_without(cli: Cli) -> None:
    cli.write("a.py", BAD)
    cli.write("file", "")
    result = cli("check", "--cache-dir", "file/cache")
    assert (result.code, result.err.splitlines()[0]) == (1, "warning: no cache can be kept in file/cache")
    assert cli("check", "-q", "--cache-dir", "file/cache").err == ""
    assert cli.read("file") == ""


def test_clean_removes_the_cache_and_nothing_else(warm: Cli) -> None:
    (warm.folder / ".bnlint_cache" / "notes.txt").write_text("mine")
    result = warm("clean")
    assert (result.code, result.out) == (0, "")
    assert "removed 7 entries" in result.err
    assert [each.name for each in (warm.folder / ".bnlint_cache").iterdir()] == ["notes.txt"]
    assert warm("clean").code == 0
    assert warm("check").code == 1


@pytest.mark.parametrize("verb", ["check", "clean"])
@pytest.mark.parametrize("folder", ["", ".", "other"])
def test_a_folder_of_others_is_no_cache(cli: Cli, verb: str, folder: str) -> None:
    kept = {f"{folder or '.'}/{name}": text for name, text in {"package.json": "{}", ".gitignore": "*.pt\n"}.items()}
    for name, content in kept.items():
        cli.write(name, content)
    result = cli(verb, "--cache-dir", folder)
    assert (result.code, result.out) == (2, "")
    assert "holds other files" in result.err and ".bnlint_cache" in result.err
    assert {name: cli.read(name) for name in kept} == kept
    assert len(list((cli.folder / folder).iterdir())) == 2


@pytest.mark.parametrize("marker", ["", "# made by"])
def test_a_cache_that_another_run_is_just_making_is_one(cli: Cli, marker: str) -> None:
    cli.write("a.py", BAD)
    cli.write("kept/.gitignore", marker)
    assert cli("check", "--cache-dir", "kept").code == 1


def test_runs_at_the_same_time(cli: Cli) -> None:
    for number in range(20):
        cli.write(f"m{number}.py", BAD)
    age(cli.folder)
    command = [sys.executable, "-m", "bnlint", "check", "--output-format", "concise", "-q"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    runs = [subprocess.Popen(command, cwd=cli.folder, env=environment, stdout=subprocess.PIPE) for _ in range(3)]
    said = [run.communicate()[0] for run in runs]
    assert said[0].count(b"BN101") == 20
    assert said[1:] == said[:1] * 2
    assert not list((cli.folder / ".bnlint_cache").glob("*.tmp"))


def modules_of_a_check(folder: Path) -> str:
    """The modules that a process has imported when it has checked a folder."""
    code = (
        "import sys\nfrom bnlint.cli import main\n"
        "try: main(['check', '--output-format', 'concise'])\nexcept SystemExit: pass\n"
        "print(' '.join(sys.modules))\n"
    )
    # The entries name the folder as the test sees it, so the process must start there too.
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_warm_run_needs_neither_libcst_nor_rich_nor_torch(warm: Cli) -> None:
    said = modules_of_a_check(warm.folder)
    assert "BN101" in said
    assert {"libcst", "rich", "torch"}.isdisjoint(said.splitlines()[-1].split())


def test_where_the_screen_leaves_nothing_the_flow_is_not_imported(cli: Cli) -> None:
    cli.write("a.py", "def f(x):\n    return x + 1\n")
    assert "bnlint.source.interpret" not in modules_of_a_check(cli.folder).split()
    cli.write("b.py", BAD)
    assert "bnlint.source.interpret" in modules_of_a_check(cli.folder).split()
