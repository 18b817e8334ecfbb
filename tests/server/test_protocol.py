"""A whole session with an editor: what it is told, what it is offered, and what that makes of a file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

import pytest
from editor import Editor, talk
from lsprotocol import types
from own import BAD as OWN
from own import CONFIG, NAME, PAGE
from own import FIXED as OWN_FIXED

from bnlint.cli import main

GOOD = "def f(x):\n    return x - x.mean()\n"
BAD = "def f(x):\n    return x - x.mean().detach()\n"
# The emoji is one character, and two units of UTF-16.
WIDE = 'def f(x):\n\t"""😀"""; return x - x.mean().detach()  # 😀\n'
TWO = (
    "import torch\n\n\nclass Norm(torch.nn.Module):\n    def forward(self, x):\n"
    "        mean = x.mean(0).detach()\n        var = x.var(0, unbiased=False).detach()\n"
    "        return (x - mean) / torch.sqrt(var + 1e-5)\n"
)
EPS = (
    "import torch\n\n\nclass Norm(torch.nn.BatchNorm2d):\n    def forward(self, x):\n"
    "        mean = x.mean((0, 2, 3), keepdim=True)\n"
    "        var = x.var((0, 2, 3), unbiased=False, keepdim=True)\n"
    "        x = (x - mean) / (torch.sqrt(var) + self.eps)\n"
    "        return x * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)\n"
)
# At the end of the session it is told what should not have been imported.
COUNTING = """
import sys
from bnlint.commands import server

code = server()
print(*sorted({"torch", "numpy", "bnlint.model"} & sys.modules.keys()) or ["nothing"], file=sys.stderr)
sys.exit(code)
"""
USER = "from helper import center\n\n\ndef f(x):\n    return x - center(x)\n"
HELPER = "def center(x):\n    return x.mean()\n"
STOPPED = "def center(x):\n    return x.mean().detach()\n"


def span(diagnostic: types.Diagnostic) -> tuple[int, int, int, int]:
    start, end = diagnostic.range.start, diagnostic.range.end
    return start.line, start.character, end.line, end.character


def fixed_by_the_command(folder: Path, text: str, *options: str) -> str:
    file = folder / "fixed_by_the_command.py"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["fix", "-q", str(file), *options])
    return file.read_text(encoding="utf-8")


def test_a_session_from_the_first_finding_to_the_last(tmp_path: Path) -> None:
    async def scenario(editor: Editor) -> None:
        result = await editor.initialize()
        assert result.server_info is not None and result.server_info.name == "bnlint"
        uri = editor.open("f.py", GOOD)
        await editor.found(uri)
        editor.type(uri, (1, 23, 1, 23, ".det"), (1, 27, 1, 27, "ach()"))
        assert editor.texts[uri] == BAD
        (told,) = await editor.found(uri, "BN101")
        assert told.severity is types.DiagnosticSeverity.Error
        assert told.source == "bnlint" and told.tags is None
        assert told.code_description is not None
        page = Path(url2pathname(urlparse(told.code_description.href).path)).read_text(encoding="utf-8")
        assert 'code = "BN101"' in page
        related = told.related_information or []
        assert [each.message.partition(":")[0] for each in related] == ["statistic", "stop", "use"]
        assert {each.location.uri for each in related} == {uri}
        fix, suppress, everything = await editor.actions(uri, told.range)
        assert (fix.kind, fix.is_preferred) == (types.CodeActionKind.QuickFix, True)
        assert editor.after(fix) == GOOD
        assert (everything.kind, editor.after(everything)) == ("source.fixAll.bnlint", GOOD)
        assert suppress.kind == types.CodeActionKind.QuickFix
        editor.replace(uri, editor.after(suppress))
        assert "  # bnlint: ignore[BN101] " in editor.texts[uri]
        page = await editor.hover(uri, 1, 23)
        assert page is None
        await editor.found(uri)
        editor.close(uri)

    assert talk(tmp_path, scenario, ("-c", COUNTING)) == (0, "nothing\n")


def test_columns_are_counted_as_the_editor_counts_them(tmp_path: Path) -> None:
    async def scenario(editor: Editor) -> None:
        result = await editor.initialize()
        assert result.capabilities.position_encoding == "utf-16"
        uri = editor.open("wide.py", WIDE.replace(".detach()", ""))
        await editor.found(uri)
        column = len('\t"""XX"""; return x - x.mean()')
        editor.type(uri, (1, column, 1, column, ".detach()"))
        assert editor.texts[uri] == WIDE
        (told,) = await editor.found(uri, "BN101")
        at = span(told)
        units = WIDE.splitlines()[1].encode("utf-16-le")
        assert "detach" in units[2 * at[1] : 2 * at[3]].decode("utf-16-le")
        assert units[: 2 * at[1]].decode("utf-16-le").endswith(("x - ", "x.mean()"))
        (fix,) = await editor.actions(uri, told.range, "source.fixAll")
        assert editor.after(fix) == WIDE.replace(".detach()", "")

    talk(tmp_path, scenario)


def test_an_editor_may_count_characters(tmp_path: Path) -> None:
    async def scenario(editor: Editor) -> None:
        assert (await editor.initialize("utf-32")).capabilities.position_encoding == "utf-32"
        (told,) = await editor.found(editor.open("wide.py", WIDE), "BN101")
        at = span(told)
        assert "detach" in WIDE.splitlines()[1][at[1] : at[3]]

    talk(tmp_path, scenario)


def test_fix_all_is_what_the_command_does(tmp_path: Path) -> None:
    start = "# a page\f and a line\u2028of its own\n"
    texts = {f"{len(end)}.py": (start + TWO).replace("\n", end) for end in ("\n", "\r\n")}
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode())
    with pytest.raises(SystemExit):
        main(["fix", "-q", str(tmp_path)])

    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        for name, text in texts.items():
            uri = editor.open(name, text)
            first, second = await editor.found(uri, "BN101", "BN101")
            (everything,) = await editor.actions(uri, first.range, "source.fixAll.bnlint")
            assert editor.after(everything).encode() == (tmp_path / name).read_bytes()
            assert ".detach()" not in editor.after(everything)
            fix = (await editor.actions(uri, second.range, "quickfix"))[0]
            assert editor.after(fix) == text.replace("unbiased=False).detach()", "unbiased=False)")
            assert fix.diagnostics is not None and fix.diagnostics[0].range == second.range

    talk(tmp_path, scenario)


def test_an_unsafe_fix_is_named_so_and_not_made_with_all_others(tmp_path: Path) -> None:
    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        uri = editor.open("eps.py", EPS)
        (told,) = await editor.found(uri, "BN302")
        assert told.severity is types.DiagnosticSeverity.Warning
        fix, _ = await editor.actions(uri, told.range)
        assert "unsafe" in fix.title and not fix.is_preferred
        assert editor.after(fix) == fixed_by_the_command(tmp_path, EPS, "--unsafe-fixes") != EPS
        (tmp_path / "bnlint.toml").write_text("unsafe-fixes = true\n", encoding="utf-8")
        editor.save(uri)
        await editor.found(uri, "BN302")
        (everything,) = await editor.actions(uri, told.range, "source")
        assert editor.after(everything) == editor.after(fix)

    talk(tmp_path, scenario)


def test_a_hover_shows_the_page_of_the_rule_and_a_broken_file_is_one_finding(tmp_path: Path) -> None:
    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        uri = editor.open("f.py", "def f(x:\n    return x\n")
        (told,) = await editor.found(uri, "BN001")
        assert span(told)[0] == 0
        assert await editor.actions(uri, told.range) == []
        editor.replace(uri, BAD)
        (told,) = await editor.found(uri, "BN101")
        page = await editor.hover(uri, told.range.start.line, told.range.start.character + 1)
        assert page is not None and page.startswith("# BN101 detached-statistic")
        assert "## Why is this bad?" in page
        assert await editor.hover(uri, 0, 1) is None

    talk(tmp_path, scenario)


def test_the_nearest_configuration_holds_and_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    nearest = tmp_path / "part" / "pyproject.toml"
    nearest.write_text('[tool.bnlint]\nignore = ["BN1"]\n', encoding="utf-8")

    async def scenario(editor: Editor) -> None:
        await editor.initialize(watches=True)
        await editor.until(lambda: {"**/pyproject.toml", "**/bnlint.toml", "**/*.py"} <= set(editor.watched))
        uri, other = editor.open("part/f.py", BAD), editor.open("f.py", BAD)
        await editor.found(other, "BN101")
        await editor.found(uri)
        nearest.write_text("[tool.bnlint]\n", encoding="utf-8")
        editor.disk("part/pyproject.toml")
        await editor.found(uri, "BN101")
        nearest.write_text('[tool.bnlint]\nexclude = ["f.py"]\n', encoding="utf-8")
        editor.save(uri)
        await editor.found(uri)
        nearest.write_text('[tool.bnlint]\nignroe = ["BN1"]\n', encoding="utf-8")
        editor.disk("part/pyproject.toml")
        await editor.until(lambda: editor.shown)
        assert "ignroe" in editor.shown[0] and "`ignore`" in editor.shown[0]
        nearest.write_text('[tool.bnlint.per-file-ignores]\n"g.py" = ["ALL"]\n', encoding="utf-8")
        editor.disk("part/pyproject.toml")
        await editor.found(uri, "BN101")
        ignored = editor.open("part/g.py", BAD)
        await editor.found(ignored)

    talk(tmp_path, scenario)


def test_what_the_baseline_knows_is_not_told_and_installed_packages_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bnlint.toml").write_text('baseline = "known.json"\n', encoding="utf-8")
    (tmp_path / "f.py").write_text(BAD, encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["check", "-q", "--write-baseline"])

    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        await editor.found(editor.open("f.py", "# moved\n" + BAD))
        await editor.found(editor.open("new.py", BAD), "BN101")
        await editor.found(editor.open("site-packages/new.py", BAD))
        editor.open("notes.toml", BAD, "toml")
        await editor.found(editor.open("last.py", BAD), "BN101")
        assert not any(told.uri.endswith("notes.toml") for told in editor.told)

    talk(tmp_path, scenario)


def test_names_and_rules_of_the_project_hold(tmp_path: Path) -> None:
    page, configuration = tmp_path / NAME, tmp_path / "bnlint.toml"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE, encoding="utf-8")
    opaque = "from acme.ops import freeze\n\n\ndef center(x):\n    return freeze(x.mean())\n"
    (tmp_path / "helper.py").write_text(opaque, encoding="utf-8")

    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        uri, user, helper = editor.open("f.py", OWN), editor.open("user.py", USER), (tmp_path / "helper.py").as_uri()
        await editor.found(uri)
        await editor.found(user)
        configuration.write_text(CONFIG, encoding="utf-8")
        editor.disk("bnlint.toml")
        await editor.found(helper, "ACME101")
        (told,) = await editor.found(uri, "ACME101")
        assert told.severity is types.DiagnosticSeverity.Warning
        assert told.code_description is not None and told.code_description.href == page.as_uri()
        assert "chapter 3 of the handbook" in (await editor.hover(uri, 4, 16) or "")
        fixed = next(each for each in await editor.actions(uri, told.range) if each.kind == "source.fixAll.bnlint")
        assert editor.after(fixed) == OWN_FIXED
        configuration.write_text('stops = ["acme.ops.freeze"]\n', encoding="utf-8")
        editor.disk("bnlint.toml")
        await editor.found(uri, "BN101")
        await editor.found(helper, "BN101")

    talk(tmp_path, scenario)


def test_the_unsaved_text_of_other_files_counts(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text(HELPER, encoding="utf-8")

    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        uri, helper = editor.open("user.py", USER), editor.open("helper.py", HELPER)
        await editor.found(uri)
        await editor.found(helper)
        editor.replace(helper, STOPPED)
        (told,) = await editor.found(helper, "BN101")
        assert {each.location.uri for each in told.related_information or ()} == {uri, helper}
        assert span(told)[0] == 1
        editor.type(helper, (1, 0, 1, 0, "    import (\n"))
        await editor.found(helper, "BN001")
        editor.replace(helper, STOPPED)
        await editor.found(helper, "BN101")
        editor.close(helper)
        del editor.versions[helper]
        await editor.found(helper)
        (tmp_path / "helper.py").write_text(STOPPED, encoding="utf-8")
        editor.disk("helper.py")
        await editor.found(helper, "BN101")
        editor.close(uri)
        await editor.found(helper)

    talk(tmp_path, scenario)


def test_an_error_inside_is_logged_and_the_session_goes_on(tmp_path: Path) -> None:
    broken = (
        "import bnlint.server.analysis as analysis\n"
        "inspect = analysis.inspect_source\n"
        "def fail(source, *rest):\n"
        "    return 1 / 0 if b'fail' in source else inspect(source, *rest)\n"
        "analysis.inspect_source = fail\n"
        "from bnlint.cli import main\n"
        "main(['server', '--stdio'])\n"
    )

    async def scenario(editor: Editor) -> None:
        await editor.initialize()
        uri = editor.open("f.py", BAD)
        await editor.found(uri, "BN101")
        editor.replace(uri, "fail = 1\n")
        await editor.until(lambda: editor.logged)
        assert "ZeroDivisionError" in editor.logged[0]
        await editor.found(uri)
        editor.replace(uri, BAD)
        await editor.found(uri, "BN101")

    assert talk(tmp_path, scenario, ("-c", broken))[0] == 0


def test_an_end_that_was_not_announced_is_no_success(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-m", "bnlint", "server"], input=b"", capture_output=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (1, b"", b"")


ABSENT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("pygls", "lsprotocol"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""


def test_without_the_extra_one_line_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(ABSENT, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "bnlint", "server"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.splitlines() == [
        "error: the language server needs pygls, which is not installed",
        '  hint: pip install "bnlint[server]"',
    ]
