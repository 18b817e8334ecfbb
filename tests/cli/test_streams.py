"""The standard streams as shells leave them: of any encoding, or closed; and a working folder that is gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from terminal import BAD

ROOT = Path(__file__).parents[2]
FORMATS = ["full", "concise", "json", "json-lines", "sarif", "github", "gitlab", "junit"]
posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX shell")


def run(
    folder: Path, *arguments: str, encoding: str = "utf-8", around: str = 'exec "$@"'
) -> subprocess.CompletedProcess[bytes]:
    """Run bnlint from a shell, in a process whose streams have an encoding."""
    return subprocess.run(
        ["sh", "-c", around, "sh", sys.executable, "-m", "bnlint", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
        check=False,
    )


@posix
@pytest.mark.parametrize("output_format", FORMATS)
def test_what_goes_into_a_file_is_utf_8_in_every_locale(tmp_path: Path, output_format: str) -> None:
    (tmp_path / "é漢.py").write_text(BAD.replace("f(x)", "größe漢(x)"), encoding="utf-8")
    options = ("check", "-q", "--no-cache", "--output-format", output_format)
    expected = run(tmp_path, *options)
    assert (expected.returncode, expected.stderr) == (1, b"")
    if "json" in output_format or output_format in ("sarif", "gitlab"):
        assert json.loads(expected.stdout)
    elif output_format == "junit":
        assert "é漢.py" in {each.get("name") for each in ElementTree.fromstring(expected.stdout).iter("testsuite")}
    else:
        assert "é漢.py" in expected.stdout.decode()
    for encoding in ("latin-1", "ascii"):
        said = run(tmp_path, *options, encoding=encoding)
        assert (said.returncode, said.stdout, said.stderr) == (1, expected.stdout, b"")


@posix
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize(
    "arguments", [("check", "--output-format", "github"), ("check", "--show-files"), ("fix", "--diff")]
)
def test_names_of_files_are_those_of_the_disk(tmp_path: Path, encoding: str, arguments: tuple[str, ...]) -> None:
    name = b"a\xff.py"
    try:
        (tmp_path / os.fsdecode(name)).write_text(BAD)
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    said = run(tmp_path, *arguments, encoding=encoding)
    assert name in said.stdout and b"on its own" not in said.stderr


@posix
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-"])
@pytest.mark.parametrize("output_format", ["full", "json"])
def test_a_closed_stream_takes_nothing_and_changes_no_exit_code(
    tmp_path: Path, closed: str, output_format: str
) -> None:
    (tmp_path / "a.py").write_text(BAD)
    said = run(tmp_path, "check", "--output-format", output_format, around=f'"$@" {closed}')
    assert said.returncode == 1
    assert b"on its own" not in said.stderr


@posix
@pytest.mark.parametrize("command", ["check", "fix"])
def test_a_closed_stdin_cannot_be_read(tmp_path: Path, command: str) -> None:
    said = run(tmp_path, command, "-", around='"$@" <&-')
    assert (said.returncode, said.stdout, said.stderr) == (2, b"", b"error: stdin: cannot be read: it is closed\n")


@posix
@pytest.mark.parametrize("arguments", [("check",), ("fix",), ("config",), ("clean",), ("check", "-")])
def test_a_working_folder_that_is_gone_is_said(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    said = run(folder, *arguments, around='rmdir "$PWD"; exec "$@"')
    assert said.returncode == 2
    assert said.stderr.decode().startswith("error: the working folder does not exist any more")
