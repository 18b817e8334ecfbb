"""What cannot be done: for each behaviour of the command line a wrong value, which is one clear line and exit code 2.

Nothing is printed on stdout, and every file is as before: neither fixed nor made.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pytest
from terminal import BAD, Cli, Result

ROOT = Path(__file__).parents[2]
CHECK, FIX, WRITE = ("check",), ("fix",), ("check", "--write-baseline")
BOTH = (CHECK, FIX, ("check", "--fix"), ("check", "--add-ignores", "why"))
LONG = "x" * 300


@dataclass(frozen=True)
class Row:
    """Arguments behind each of the commands, and what the line on stderr says."""

    arguments: tuple[str, ...]
    said: str
    commands: tuple[tuple[str, ...], ...] = BOTH
    files: dict[str, str | bytes] = field(default_factory=dict)
    make: Callable[[Path], object] = lambda _: None
    variables: dict[str, str] = field(default_factory=dict)
    stdin: bytes = b""


def row(*arguments: str, said: str, commands: tuple[tuple[str, ...], ...] = BOTH, **rest: object) -> Row:
    return Row(arguments, said, commands, **rest)  # type: ignore[arg-type]


def config(text: str | bytes, said: str) -> Row:
    return Row((), said, files={"bnlint.toml": text}, commands=(*BOTH, ("config",)))


def baseline(text: str | bytes, said: str) -> Row:
    commands = (*BOTH, WRITE)
    return Row(("--baseline", "known.json"), said, commands, files={"known.json": text})


ENTRY = '{"path": "a.py", "code": "BN101", "symbol": "f", "module": "", "text": "", "count": 1}'
KNOWN = '{"version": 1, "findings": [%s]}'
LINKED = "loop.py"
MODEL = {"m.pt": b"a model"}


def loop(folder: Path) -> None:
    (folder / LINKED).symlink_to(LINKED)


ROWS = {
    # 1. verbs and targets
    "no such command": row("nonsense", said="nonsense", commands=((),)),
    "no such option": row("--nope", said="--nope"),
    "an option without its value": row("--select", said="--select"),
    "a missing file": row("a.py", "gone.py", said="gone.py: no such file or folder"),
    "an empty argument": row("", said="an empty argument"),
    "a name that is too long": row(f"{LONG}.py", said="name too long"),
    "a path that is too long": row("x/" * 3000 + "a.py", said="name too long"),
    "a name with a line break": row("a\nb.py", said="a\\nb.py: no such file"),
    "a name that is no text": row(os.fsdecode(b"\xff.py"), said="\\udcff.py: no such file"),
    "a link to itself": row(LINKED, said="symbolic links", make=loop),
    "a link to nothing": row("l.py", said="a link to what", make=lambda d: (d / "l.py").symlink_to("gone.py")),
    "a pipe": row("pipe.py", said="pipe.py: not a regular file", make=lambda d: os.mkfifo(d / "pipe.py")),
    "a device": row("l.py", said="not a regular file", make=lambda d: (d / "l.py").symlink_to("/dev/zero")),
    "no Python": row("notes.txt", said="notes.txt: not Python source", files={"notes.txt": "hello"}),
    "a missing checkpoint": row("gone.pt", said="gone.pt", commands=(CHECK,)),
    "options of models for source": row("--input", "2x3", said="--input is for models"),
    "trust for source": row("--trust", said="--trust is for models"),
    "a file to fix source into": row("-o", "out.py", said="-o is for a checkpoint", commands=(FIX,)),
    "a certificate of source": row("--certificate", "c.json", said="--certificate", commands=(FIX,)),
    "source is not fixed before that": row("a.py", "m.pt", said="say where to write", commands=(FIX,), files=MODEL),
    "a repair over its proof": row(
        "m.pt", "-o", "x", "--certificate", "./x", said="two things", commands=(FIX,), files=MODEL
    ),
    "a proof over the model": row(
        "m.pt",
        "--in-place",
        "--certificate",
        "./m.pt",
        said="--certificate would be written over",
        commands=(FIX,),
        files=MODEL,
    ),
    "a proof over the code": row(
        "m.pt",
        "-o",
        "x.pt",
        "--code",
        "a.py",
        "--certificate",
        "a.py",
        said="over a file that is read",
        commands=(FIX,),
        files=MODEL,
    ),
    "a repair over the code": row(
        "m.pt", "-o", "a.py", "--code", "./a.py", said="-o would be written over a file", commands=(FIX,), files=MODEL
    ),
    "a repair over the source": row(
        "a.py", "m.pt", "-o", "a.py", said="-o would be written", commands=(FIX,), files=MODEL
    ),
    "a rule that is none": row("BN999", said="BN999", commands=(("rule",),)),
    "the name of a rule": row("detached-statistic", said="its code is wanted", commands=(("rule",),)),
    "a rule and every rule": row("BN101", said="every rule", commands=(("rule", "--all"),)),
    "a path of no configuration": row("gone", said="gone: no such", commands=(("config",),)),
    # 4. codes
    "an unknown code": row("--select", "BN101,BN999", said="`BN999`"),
    "a code of another tool": row("--ignore", "E501", said="`E501`"),
    "a code in small letters": row("--extend-select", "bn101", said="`bn101`"),
    "codes with a space between": row("--select", "BN101 BN102", said="`BN101 BN102`"),
    "no code": row("--select", "", said="--select names no rule"),
    "only commas": row("--ignore", ",", said="--ignore names no rule"),
    # 6. formats and where they go
    "an unknown format": row("--output-format", "xml", said="'xml'", commands=(CHECK, ("config",))),
    "a format in capitals": row("--output-format", "JSON", said="'JSON'", commands=(CHECK,)),
    "a format of the environment": row(
        said="BNLINT_OUTPUT_FORMAT", commands=(CHECK, ("config",)), variables={"BNLINT_OUTPUT_FORMAT": "xml"}
    ),
    "output in a missing folder": row("-o", "gone/out", said="gone/out: cannot be written", commands=(*BOTH[::2],)),
    "output below a file": row("-o", "a.py/out", said="a.py/out: cannot be written", commands=(CHECK,)),
    "output into a folder": row("-o", ".", said="Is a directory", commands=(CHECK,)),
    "output into a link to itself": row("-o", LINKED, said="symbolic links", commands=(CHECK,), make=loop),
    "output into a name that is too long": row("-o", LONG, said="name too long", commands=(CHECK,)),
    "output over what is checked": row("-o", "./a.py", said="a.py", commands=(CHECK, ("check", "--fix"))),
    "statistics in a format without": row(
        "--statistics", "--output-format", "sarif", said="--statistics", commands=(CHECK, ("check", "--fix"))
    ),
    # 7. the terminal
    "a color that is none": row("--color", "mauve", said="mauve"),
    "a severity that is none": row("--fail-on", "fatal", said="fatal"),
    # 8. configuration
    "an unknown key": config("selct = []", "unknown key `selct`"),
    "a key with a line break": config('"a\\nb" = 1', "unknown key `a\\nb`"),
    "a table too much": config("[tool.bnlint]\nselect = []", "unknown key `tool`"),
    "a text for a list": config('select = "BN1"', "`select` must be a list of strings"),
    "a number in a list": config("exclude = [1]", "`exclude` must be a list of strings"),
    "a date": config("select = 2020-01-01", "`select` must be"),
    "a number for a flag": config("force-exclude = 1", "`force-exclude` must be true or false"),
    "a list for a severity": config("fail-on = []", "`fail-on` must be one of"),
    "an unknown format in it": config('output-format = "xml"', "`output-format` must be one of"),
    "an unknown code in it": config('select = ["BN999"]', "bnlint.toml: no rule has the code `BN999`"),
    "a null byte in it": config('baseline = "a\\u0000b"', "`baseline` must be a string"),
    "a syntax error": config("select = [", "not valid TOML"),
    "the same key twice": config("select = []\nselect = []", "not valid TOML"),
    "deep nesting": config("select = " + "[" * 3000, "not valid TOML"),
    "another encoding": config(b"exclude = ['\xe9']", "UTF-8"),
    "two bytes a character": config("select = []".encode("utf-16"), "UTF-8"),
    "a broken pyproject": row(said="pyproject.toml: not valid TOML", files={"pyproject.toml": "[tool"}),
    "a table that is none": row(said="must be a table", files={"pyproject.toml": "tool.bnlint = 1"}),
    "a folder of that name": row(said="bnlint.toml: cannot be read", make=lambda d: (d / "bnlint.toml").mkdir()),
    "a pipe of that name": row(said="not a regular file", make=lambda d: os.mkfifo(d / "bnlint.toml")),
    "a dead link of that name": row(said="bnlint.toml", make=lambda d: (d / "bnlint.toml").symlink_to("gone")),
    "a missing configuration": row("--config", "gone.toml", said="gone.toml: cannot be read"),
    "a folder as configuration": row("--config", ".", said="Is a directory"),
    "a source file as configuration": row("--config", "a.py", said="a.py: not valid TOML"),
    "a pyproject without our table": row(
        "--config", "pyproject.toml", said="has no [tool.bnlint]", files={"pyproject.toml": "[tool.ruff]"}
    ),
    "a configuration and none": row("--config", "c.toml", "--isolated", said="--isolated", files={"c.toml": ""}),
    # 9. stdin
    "a name of stdin without it": row("--stdin-filename", "b.py", said="--stdin-filename"),
    "stdin and a file": row("-", "a.py", said="stands alone"),
    "stdin to be fixed in place": row("-", said="stdin", commands=BOTH[2:], stdin=BAD.encode()),
    # 10. suppressions
    "no reason": row(said="--add-ignores wants a reason", commands=(("check", "--add-ignores", ""),)),
    "a reason of two lines": row(said="--add-ignores wants a reason", commands=(("check", "--add-ignores", "a\nb"),)),
    # 11. baselines
    "a missing baseline": row("--baseline", "gone.json", said="gone.json: no such file"),
    "a folder as baseline": row("--baseline", ".", said="Is a directory", commands=(*BOTH, WRITE)),
    "a link to itself as baseline": row("--baseline", LINKED, said="symbolic links", make=loop),
    "a baseline that is source": row("--baseline", "a.py", said="a.py: not a baseline"),
    "source to be replaced by a baseline": row("--baseline", "a.py", said="a.py: not a baseline", commands=(WRITE,)),
    "a baseline in a missing folder": row("--baseline", "gone/b.json", said="cannot be written", commands=(WRITE,)),
    "a baseline without a name": row(said="say where the baseline is", commands=(WRITE,)),
    "a baseline that is no JSON": baseline("{", "not a baseline"),
    "a baseline that is no text": baseline(b"\xff", "not a baseline"),
    "a baseline of another kind": baseline('{"version": 1}', "not a baseline"),
    "a baseline with an entry of another kind": baseline(KNOWN % "[]", "not a baseline"),
    "a baseline with half a count": baseline(KNOWN % ENTRY.replace("1}", "1.5}"), "not a baseline"),
    "a baseline with a null byte": baseline(KNOWN % ENTRY.replace("a.py", "\\u0000"), "not a baseline"),
    "a baseline of a newer version": baseline('{"version": 2, "findings": {"a": 1}}', "version 2"),
    "a baseline that is nested": baseline("[" * 100_000, "not a baseline"),
    # 12. the cache
    "a file as cache": row("--cache-dir", "a.py", said="a.py", commands=(CHECK, ("check", "--fix"), ("clean",))),
    "a file as cache of the environment": row(said="a.py", commands=(CHECK,), variables={"BNLINT_CACHE_DIR": "a.py"}),
    "a file as cache of the configuration": row(
        said="a.py", commands=(CHECK,), files={"bnlint.toml": 'cache-dir = "a.py"'}
    ),
}


def look(folder: Path) -> dict[str, object]:
    """Everything in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        found[str(path)] = path.read_bytes() if path.is_file() and not path.is_symlink() else path.lstat().st_mode
    return found


def refused(result: Result, said: str) -> None:
    assert (result.code, result.out) == (2, ""), result.err
    first, *hints = result.err.splitlines()
    assert said in first
    assert first.startswith(("error: ", "usage: ")) and "on its own" not in first
    assert len(hints) <= 1 and all(line.startswith(("  hint: ", "  try: ")) for line in hints)


@pytest.mark.parametrize("given", ROWS.values(), ids=ROWS.keys())
def test_a_wrong_value_is_one_line_and_changes_nothing(cli: Cli, given: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write("a.py", BAD)
    for name, content in given.files.items():
        cli.write(name, content)
    given.make(cli.folder)
    for name, value in given.variables.items():
        monkeypatch.setenv(name, value)
    before = look(cli.folder)
    for command in given.commands:
        refused(cli(*command, *given.arguments, stdin=given.stdin), given.said)
        assert look(cli.folder) == before


def bound() -> None:
    """Give up root's right to read and write what its mode forbids: before a process starts, where it has that."""
    if sys.platform == "linux" and os.geteuid() == 0:
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


needs_modes = pytest.mark.skipif(
    os.name != "posix" or (os.geteuid() == 0 and sys.platform != "linux"), reason="modes forbid nothing here"
)


def run(folder: Path, *arguments: str) -> Result:
    """Run bnlint as a process for which modes count."""
    done = subprocess.run(
        [sys.executable, "-m", "bnlint", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        preexec_fn=bound,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stdout + done.stderr
    return Result(done.returncode, done.stdout, done.stderr)


@needs_modes
@pytest.mark.parametrize(
    ("arguments", "mode", "said"),
    [
        (("check", "locked.py"), 0, "locked.py: cannot be read: Permission denied"),
        (("fix", "locked.py"), 0o444, "locked.py: cannot be written: Permission denied"),
        (("check", "locked"), 0, "locked: cannot be read: Permission denied"),
        (("check", "locked/a.py"), 0, "locked/a.py: cannot be read: Permission denied"),
        (("fix", "locked/a.py"), 0o555, "locked/a.py: cannot be written: Permission denied"),
        (("check", "--fix", "--config", "locked.toml"), 0, "locked.toml: cannot be read: Permission denied"),
        (("fix", "--baseline", "locked.json", "."), 0, "locked.json: cannot be read: Permission denied"),
        (("check", "--fix", "-o", "locked/out"), 0o555, "locked/out: cannot be written: Permission denied"),
        (("check", "-o", "locked.json"), 0o444, "locked.json: cannot be written: Permission denied"),
        (("check", "--baseline", "locked/b.json", "--write-baseline"), 0o555, "cannot be written: Permission denied"),
    ],
)
def test_what_must_not_be_read_or_written(tmp_path: Path, arguments: tuple[str, ...], mode: int, said: str) -> None:
    (tmp_path / "a.py").write_text(BAD)
    (tmp_path / "locked").mkdir()
    for name in ("locked.py", "locked.toml", "locked.json", "locked/a.py"):
        (tmp_path / name).write_text(BAD if name.endswith(".py") else "")
    before = look(tmp_path)
    locked = next((tmp_path / each for each in arguments if each.startswith("locked.")), tmp_path / "locked")
    usual = locked.stat().st_mode
    locked.chmod(mode)
    result = run(tmp_path, *arguments)
    locked.chmod(usual)
    assert (result.code, result.out, look(tmp_path)) == (2, "", before)
    assert said in result.err.splitlines()[0]


@needs_modes
def test_the_rest_is_checked_and_fixed(tmp_path: Path) -> None:
    for name in ("a.py", "b/b.py", "c/c.py", "d.py", "e.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(BAD)
    for name, mode in (("b", 0), ("c", 0o444), ("d.py", 0o444)):
        (tmp_path / name).chmod(mode)
    told = {command: run(tmp_path, command, "--exclude", ".bnlint_cache") for command in ("check", "fix")}
    for name in ("b", "c", "d.py"):
        (tmp_path / name).chmod(0o755)
    assert [result.code for result in told.values()] == [2, 2]
    assert "a.py:2:24" in told["check"].out and "e.py:2:24" in told["check"].out
    assert all("b: cannot be read" in each.err and "c/c.py: cannot be read" in each.err for each in told.values())
    assert "d.py: cannot be written" in told["fix"].err and "fixed 2 findings in 2 files" in told["fix"].err
    fixed = {path.name for path in tmp_path.rglob("*.py") if path.read_text() != BAD}
    assert fixed == {"a.py", "e.py"}


@needs_modes
def test_a_cache_that_cannot_be_kept_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BAD)
    tmp_path.chmod(0o555)
    loud, quiet = run(tmp_path, "check"), run(tmp_path, "check", "-q")
    tmp_path.chmod(0o755)
    assert loud.code == quiet.code == 1 and "BN101" in loud.out
    assert loud.err.splitlines()[0] == f"warning: no cache can be kept in {tmp_path / '.bnlint_cache'}"
    assert quiet.err == ""


def test_stdout_that_is_full_or_closed_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(BAD)

    def check(stdout: IO[str] | int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bnlint", "check"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = check(full)
        assert done.returncode == 2
        assert done.stderr == "error: stdout: cannot be written: No space left on device\n"
    there, here = os.pipe()
    os.close(there)
    done = check(here)
    os.close(here)
    assert (done.returncode in (1, 2), done.stderr) == (True, "")
