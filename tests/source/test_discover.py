from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bnlint.errors import InputError
from bnlint.settings import Settings
from bnlint.source.discover import DEFAULT_EXCLUDE, discover

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Write files into the working folder, empty ones by name and others with their text."""
    monkeypatch.chdir(tmp_path)

    def write(*names: str, **texts: str) -> Path:
        for name, text in {**dict.fromkeys(names, ""), **texts}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write


def found(*paths: str, exclude: tuple[str, ...] = (), **options: bool) -> list[str]:
    options_of = Settings({"exclude": exclude, "isolated": True})
    found = discover([Path(path) for path in paths], exclude=options_of.excludes, **options)
    return [file.as_posix() for file in found]


def test_folder_is_walked_sorted_and_only_python_is_taken(tree: Tree) -> None:
    tree("b.py", "a/z.pyi", "a/b/c.py", "a.txt", "c.pyc", "d.ipynb", "py", "a/B.py", "名/é.py")
    assert found(".") == ["a/B.py", "a/b/c.py", "a/z.pyi", "b.py", "d.ipynb", "名/é.py"]
    assert found("d.ipynb") == ["d.ipynb"]


def test_copies_that_jupyter_keeps_are_left_out(tree: Tree) -> None:
    tree("a.ipynb", ".ipynb_checkpoints/a-checkpoint.ipynb", "b/.ipynb_checkpoints/c-checkpoint.py")
    assert found(".") == ["a.ipynb"]


def test_paths_keep_the_form_in_which_they_were_given(tree: Tree) -> None:
    root = tree("src/a.py")
    assert found("src") == ["src/a.py"]
    assert found("src/../src") == ["src/../src/a.py"]
    assert found(str(root / "src")) == [str(root / "src" / "a.py")]


def test_order_of_paths_is_kept_and_duplicates_are_not(tree: Tree) -> None:
    root = tree("a/x.py", "b/y.py")
    (root / "b" / "link.py").symlink_to(root / "a" / "x.py")
    assert found("b/y.py", "a", "b", "b/../a/x.py", str(root / "a" / "x.py")) == ["b/y.py", "a/x.py"]


def test_a_file_has_its_own_name_and_not_that_of_a_link(tree: Tree) -> None:
    root = tree("src/norm.py", "src/z/b.py", "other/c.py")
    (root / "src" / "a_link.py").symlink_to("norm.py")
    (root / "src" / "z" / "norm.py").symlink_to("../norm.py")
    (root / "src" / "d_link.py").symlink_to("../other/c.py")
    assert found("src") == ["src/d_link.py", "src/norm.py", "src/z/b.py"]
    assert found("src/a_link.py", "src") == ["src/a_link.py", "src/d_link.py", "src/z/b.py"]


@pytest.mark.parametrize("name", DEFAULT_EXCLUDE)
def test_default_excludes_hold_below_a_folder_but_not_for_it(tree: Tree, name: str) -> None:
    tree(f"src/{name}/a.py", "src/b.py")
    assert found("src") == ["src/b.py"]
    assert found(f"src/{name}") == [f"src/{name}/a.py"]


def test_file_named_like_an_excluded_folder_is_read(tree: Tree) -> None:
    tree("build.py", "dist.pyi")
    assert found(".") == ["build.py", "dist.pyi"]


def test_gitignore_agrees_with_git(tree: Tree) -> None:
    root = tree(
        *("a.py", "gen_a.py", "keep/gen_b.py", "out/x.py", "out/kept.py", "src/out/y.py", "top.py", "src/top.py"),
        *(
            "src/deep/gen_c.py",
            "src/deep/gen_keep.py",
            "doc/a/b/c.py",
            "doc/x.py",
            "space .py",
            "#hash.py",
            "!bang.py",
            "src/local.py",
        ),
        **{
            ".gitignore": "# comment\ngen_*.py\n/out/\n!kept.py\n/top.py\ndoc/**/c.py\n\\#hash.py\n\\!bang.py\n[\n!\n",
            "src/.gitignore": "!gen_keep.py\nlocal.py\n/deep/gen_c.py\n",
            "keep/.gitignore": "!*.py\n",
            "out/.gitignore": "!x.py\n",
        },
    )
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    listed = subprocess.run(
        ["git", "-c", "core.quotePath=off", "ls-files", "-z", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
    )
    expected = sorted(name for name in listed.stdout.decode().split("\0") if name.endswith(".py"))
    assert expected == sorted(found("."))
    assert {"keep/gen_b.py", "src/out/y.py", "src/deep/gen_keep.py", "src/top.py"} <= set(expected)
    ignored = {"gen_a.py", "out/x.py", "out/kept.py", "top.py", "src/local.py", "src/deep/gen_c.py", "doc/a/b/c.py"}
    assert not ignored & set(expected)
    assert found("src") == sorted(name for name in expected if name.startswith("src/"))


def test_gitignore_can_be_switched_off(tree: Tree) -> None:
    tree("a.py", "b/c.py", **{".gitignore": "a.py\n", "b/.gitignore": "*\n"})
    assert found(".") == []
    assert found(".", respect_gitignore=False) == ["a.py", "b/c.py"]


def test_gitignore_above_counts_only_inside_a_repository(tree: Tree) -> None:
    root = tree("src/a.py", "src/gen.py", **{".gitignore": "gen.py\n"})
    assert found("src") == ["src/a.py", "src/gen.py"]
    (root / ".git").mkdir()
    assert found("src") == ["src/a.py"]


def test_what_is_named_is_read(tree: Tree) -> None:
    root = tree("ignored/a.py", "ignored/b_pb2.py", **{".gitignore": "ignored/\n"})
    (root / ".git").mkdir()
    assert found(".") == []
    assert found("ignored/a.py", exclude=("ignored",)) == ["ignored/a.py"]
    assert found("ignored", exclude=("ignored",)) == ["ignored/a.py", "ignored/b_pb2.py"]
    assert found("ignored", exclude=("*_pb2.py",)) == ["ignored/a.py"]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("vendored", ["src/a.py", "src/a_pb2.py"]),
        ("*_pb2.py", ["src/a.py", "src/vendored/b.py"]),
        ("src/vendored", ["src/a.py", "src/a_pb2.py"]),
        ("/src/vendored/", ["src/a.py", "src/a_pb2.py"]),
        ("/vendored", ["src/a.py", "src/a_pb2.py", "src/vendored/b.py"]),
        ("src/**/b.py", ["src/a.py", "src/a_pb2.py"]),
        ("[", ["src/a.py", "src/a_pb2.py", "src/vendored/b.py"]),
    ],
)
def test_exclude_is_relative_to_the_working_folder(tree: Tree, pattern: str, left: list[str]) -> None:
    root = tree("src/a.py", "src/a_pb2.py", "src/vendored/b.py")
    assert found("src", exclude=(pattern,)) == left
    assert found(".", exclude=(pattern,)) == left
    assert found(str(root), exclude=(pattern,)) == [str(root / name) for name in left]


def test_exclude_holds_outside_the_working_folder(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tree("here/x.py", "there/a.py", "there/vendored/b.py")
    monkeypatch.chdir(root / "here")
    assert found("../there", exclude=("vendored",)) == ["../there/a.py"]


def test_exclude_wins_over_gitignore(tree: Tree) -> None:
    tree("a.py", "b.py", **{".gitignore": "!a.py\n"})
    assert found(".", exclude=("a.py",)) == ["b.py"]


def test_links_to_folders_end_nowhere(tree: Tree) -> None:
    root = tree("src/a.py", "other/b.py")
    (root / "src" / "loop").symlink_to(root / "src")
    (root / "src" / "other").symlink_to(root / "other")
    (root / "src" / "broken.py").symlink_to(root / "gone.py")
    (root / "src" / "self.py").symlink_to("self.py")
    assert found("src") == ["src/a.py"]
    assert found("src/other") == ["src/other/b.py"]


def test_folder_that_ends_in_py_is_a_folder(tree: Tree) -> None:
    tree("odd.py/a.py")
    assert found(".") == found("odd.py") == ["odd.py/a.py"]


def test_folder_without_python_is_empty(tree: Tree) -> None:
    tree("docs/a.md")
    assert found("docs") == []
    assert found() == []


def test_named_script_without_suffix_needs_a_python_shebang(tree: Tree) -> None:
    tree(train="#!/usr/bin/env python3\n", run="#!/bin/sh\n", plain="x = 1\n")
    assert found("train") == ["train"]
    for name in ("run", "plain"):
        with pytest.raises(InputError, match="not Python source"):
            found(name)


@pytest.mark.parametrize("name", ["model.pt", "README.md", "a.json"])
def test_named_file_that_is_no_python_is_refused(tree: Tree, name: str) -> None:
    tree(name)
    with pytest.raises(InputError, match="not Python source") as caught:
        found(name)
    assert caught.value.where == name


def test_missing_path_names_the_nearest(tree: Tree) -> None:
    tree("src/train.py")
    with pytest.raises(InputError, match="no such file or folder") as caught:
        found("src/trian.py")
    assert caught.value.where == "src/trian.py"
    assert caught.value.hint == "did you mean `src/train.py`?"
    for missing in ("nowhere/at/all.py", "src/train.py/below.py"):
        with pytest.raises(InputError, match="no such file or folder"):
            found(missing)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("pkg/model.py:build", "a function is named by its module: pkg.model:build"),
        ("src/pkg/model.py:build", "by its module: pkg.model:build"),
        ("pkg.model", "for a model, a function too: pkg.model:FUNCTION"),
        ("nothing", "name a Python file or a folder of them"),
        ("nothing.py", "name a Python file or a folder of them"),
        ("pkg.py", "did you mean `pkg`?"),
        ("notes.txt", "name a Python file or a folder of them"),
    ],
)
def test_what_looks_like_a_model_is_told_how_models_are_named(tree: Tree, path: str, said: str) -> None:
    tree("pkg/model.py")
    with pytest.raises(InputError, match="no such file or folder") as caught:
        found(path)
    assert (caught.value.hint or "").endswith(said)


@pytest.mark.parametrize("path", ["a" * 5000, "nul\0.py"])
def test_impossible_path_is_an_input_error(tree: Tree, path: str) -> None:
    tree()
    with pytest.raises(InputError, match="cannot be read"):
        found(path)


def test_pipe_is_refused_and_not_waited_for(tree: Tree) -> None:
    root = tree("a.py")
    os.mkfifo(root / "pipe")
    os.mkfifo(root / "pipe.py")
    assert found(".") == ["a.py"]
    with pytest.raises(InputError):
        found("pipe")
