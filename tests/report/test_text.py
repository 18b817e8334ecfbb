from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from bnlint.finding import Finding, Fix, Mark, ModuleLocation, Severity, SourceLocation
from bnlint.report import concise, text

SOURCE = """\
import torch


def normalize(x, eps):
    mean = x.mean((0, 2, 3), keepdim=True)
    var = x.var((0, 2, 3), keepdim=True)
    mean = mean.detach()
    # a comment
    # another
    # and another
    return (x - mean) / (var + eps).sqrt()
"""


def place(fragment: str, source: str = SOURCE, path: str = "norm.py") -> SourceLocation:
    before = source[: source.index(fragment)]
    line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    last = fragment.count("\n")
    end = len(fragment) - fragment.rfind("\n") if last else column + len(fragment)
    return SourceLocation(path, line, column, line + last, end)


def found(location: SourceLocation | None, *marks: tuple[str, str, SourceLocation], **facts: object) -> Finding:
    marked = tuple(Mark(*mark) for mark in marks)
    return Finding("BN101", "detached-statistic", Severity.ERROR, "a message", location, marks=marked, **facts)


def shown(finding: Finding, source: str | None = SOURCE, **console: object) -> str:
    file = io.StringIO()
    text.render([finding], lambda at: source if at.path == "norm.py" else None, Console(file=file, **console))
    return file.getvalue()


def test_whole_diagnostic() -> None:
    stop = place("mean.detach()")
    finding = found(
        stop,
        ("statistic", "the mean is computed here", place("x.mean((0, 2, 3), keepdim=True)")),
        ("stop", "its gradient stops here", stop),
        ("use", "and it normalizes its own input here", place("x - mean")),
        fix=Fix("remove `.detach()`", True, ()),
    )
    assert (
        shown(finding)
        == """\
error[BN101] detached-statistic: a message
  --> norm.py:7:12
   |
 5 |     mean = x.mean((0, 2, 3), keepdim=True)
   |            ------------------------------- the mean is computed here
 6 |     var = x.var((0, 2, 3), keepdim=True)
 7 |     mean = mean.detach()
   |            ^^^^^^^^^^^^^ its gradient stops here
...
11 |     return (x - mean) / (var + eps).sqrt()
   |             -------- and it normalizes its own input here
   |
   = help: remove `.detach()` (`bnlint fix` does it)
   = run `bnlint rule BN101` for the page

"""
    )


def test_marks_of_one_line_have_a_row_each() -> None:
    source = "y = x - x.mean().detach()\n"
    finding = found(
        place("x.mean().detach()", source),
        ("statistic", "mean", place("x.mean()", source)),
        ("stop", "stop", place("x.mean().detach()", source)),
        ("use", "use", place("x - x.mean().detach()", source)),
    )
    assert shown(finding, source).splitlines()[3:7] == [
        "1 | y = x - x.mean().detach()",
        "  |         -------- mean",
        "  |         ^^^^^^^^^^^^^^^^^ stop",
        "  |     --------------------- use",
    ]


@pytest.mark.parametrize(
    "before",
    ["", "\t", "\t\t", "名前 = ", "é = ", "s = '日本語'; ", "\tключ = 'ｗｉｄｅ'; ", "s = '\x1b[31m\u202e'; ", "\x0c"],
)
def test_underline_stands_below_its_text(before: str) -> None:
    source = f"{before}m.detach()  # 名\n"
    rows = shown(found(place("m.detach()", source)), source).splitlines()
    code, underline = rows[3], rows[4]
    assert cell_len(code[: code.index("m.detach()")]) == underline.index("^")
    assert underline.endswith(" " + "^" * len("m.detach()"))


def test_underline_of_wide_characters_is_as_wide_as_they_are() -> None:
    source = "x = 平均.detach()\n"
    assert shown(found(place("平均.detach()", source)), source).splitlines()[4].count("^") == 4 + len(".detach()")


def test_nothing_of_the_source_steers_the_terminal() -> None:
    source = "x = '\x1b]0;title\x07\u202e\u2066' + m.detach()\r\n"
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", shown(found(place("m.", source)), source)
    )


def test_a_file_name_is_shown_escaped() -> None:
    name = "a\x1b[31m\n\udcff\u202e.py"
    finding = found(replace(place("mean"), path=name), ("use", "is used here", place("x - mean", path=name + "i")))
    escaped = r"a\x1b[31m\n\udcff\u202e.py"
    assert f"--> {escaped}:5:5\n" in shown(finding)
    assert f"is used here ({escaped}i:11" in shown(finding)
    assert concise.render([finding]) == f"{escaped}:5:5: BN101 a message"


def test_markup_of_rich_is_plain_text() -> None:
    source = "x = stats['[bold]'] + [red][m.detach()]\n"
    assert "x = stats['[bold]'] + [red][m.detach()]" in shown(found(place("m.", source)), source)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_those_of_python(newline: str) -> None:
    source = newline.join(["a = 1\x0c", "b = '\u2028\x85'", "m.detach()", ""])
    location = SourceLocation("norm.py", 3, 1, 3, 11)
    assert "3 | m.detach()\n" in shown(found(location), source)


def test_expression_of_several_lines_is_underlined_on_each() -> None:
    source = "v = torch.var(\n    x,\n).detach()\n"
    assert shown(found(None, ("stop", "stops", place("torch.var(\n    x,\n).detach()", source))), source).splitlines()[
        2:8
    ] == [
        "1 | v = torch.var(",
        "  |     ^^^^^^^^^^",
        "2 |     x,",
        "  |     ^^",
        "3 | ).detach()",
        "  | ^^^^^^^^^^ stops",
    ]


def test_long_expression_shows_its_ends() -> None:
    source = "v = f(\n" + "    x,\n" * 10 + ").detach()\n"
    out = shown(found(None, ("stop", "stops", SourceLocation("norm.py", 1, 5, 12, 11))), source)
    assert " 1 | v = f(\n" in out and "12 | ).detach()\n" in out and "...\n" in out and "x," not in out


@pytest.mark.parametrize("terminal", [True, False])
def test_very_long_line_is_cut_around_its_mark(terminal: bool) -> None:
    source = "x = [" + "'名', " * 3000 + "m.detach(), " + "1, " * 3000 + "]\n"
    out = shown(found(place("m.detach()", source)), source, width=80, force_terminal=terminal, color_system=None)
    code, underline = out.splitlines()[3:5]
    assert cell_len(code) <= (80 if terminal else 160)
    assert code.startswith("1 | ...") and code.endswith("...")
    assert cell_len(code[: code.index("m.detach()")]) == underline.index("^")


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_narrow_terminal_keeps_every_word(width: int) -> None:
    words = "this label has rather many words for so narrow a terminal"
    finding = found(place("x - mean"), ("use", words, place("x - mean")))
    out = shown(finding, width=width, force_terminal=True, color_system=None)
    for word in (*words.split(), "message", "norm.py:11:13", "automatic"):
        assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", out)
    if width >= 60:
        assert max(cell_len(line) for line in out.splitlines()) <= width


def test_label_that_does_not_fit_stands_below_its_underline() -> None:
    finding = found(place("x - mean"), ("use", "words that do not fit here", place("x - mean")))
    lines = shown(finding, width=44, force_terminal=True, color_system=None).splitlines()
    assert lines[4:6] == ["   |             --------", "   |             words that do not fit here"]
    lines = shown(finding, width=58, force_terminal=True, color_system=None).splitlines()
    assert lines[4] == "   |             -------- words that do not fit here"


def test_output_to_a_file_is_not_folded() -> None:
    finding = Finding("BN101", "detached-statistic", Severity.ERROR, "word " * 60 + "end", place("x - mean"))
    assert shown(finding, width=40).splitlines()[0].endswith("word end")


def test_console_without_utf8() -> None:
    source = "x = '名é' + m.detach()  # ✓\n"
    for encoding in ("ascii", "latin-1", "cp1252"):
        raw = io.BytesIO()
        console = Console(file=io.TextIOWrapper(raw, encoding=encoding, write_through=True))
        marked = found(place("m.detach()", source), ("stop", "die 平均 hält", place("m.detach()", source)))
        text.render([marked], lambda _: source, console)
        lines = raw.getvalue().decode(encoding).splitlines()
        assert lines[3].index("m.detach()") == lines[4].index("^")


def test_color_only_where_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    finding = found(place("x - mean"))
    assert "\x1b" not in shown(finding)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1;31m" in shown(finding)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3\dm", shown(finding))


def test_unreadable_source_leaves_the_facts() -> None:
    finding = found(place("x - mean"), ("stop", "its gradient stops here", place("mean.detach()")))
    assert (
        shown(finding, None)
        == """\
error[BN101] detached-statistic: a message
 --> norm.py:11:13
  = its gradient stops here (norm.py:7)
  = help: no automatic fix
  = run `bnlint rule BN101` for the page

"""
    )


def test_mark_past_the_end_of_a_changed_file() -> None:
    out = shown(found(place("x - mean"), ("use", "used here", SourceLocation("norm.py", 99, 1, 99, 5))))
    assert "= used here (norm.py:99)" in out


def test_mark_in_another_file_says_which() -> None:
    other = place("mean.detach()", path="helper.py")
    file = io.StringIO()
    finding = found(place("x - mean"), ("use", "used", place("x - mean")), ("stop", "stops", other))
    text.render([finding], lambda _: SOURCE, Console(file=file))
    assert "  ::: helper.py\n   |\n 7 |     mean = mean.detach()\n" in file.getvalue()


def test_unsafe_fix_is_left_to_the_user() -> None:
    out = shown(found(place("x - mean"), fix=Fix("center first", False, ())))
    assert "help: center first (`bnlint fix --unsafe-fixes` does it: look at the page for what changes)" in out


def test_what_is_meant_does_not_ask_to_be_mended() -> None:
    finding = found(place("x - mean"))
    assert "help: no automatic fix" in shown(finding)
    assert "help: nothing to mend where it is meant" in shown(replace(finding, severity=Severity.NOTE))


def test_finding_of_a_layer_names_it() -> None:
    assert " --> layer1.0.bn1 (Norm)\n" in shown(found(None, module=ModuleLocation("layer1.0.bn1", "Norm")))


def test_cells_of_a_notebook_have_an_excerpt_each() -> None:
    cells = {1: "def center(x):\n    return x.mean().detach()", 3: "def f(x):\n    return x - center(x)"}
    stop, use = (SourceLocation("nb.ipynb", 2, 12, 2, 22, cell=cell) for cell in cells)
    finding = found(stop, ("stop", "here", stop), ("use", "used", use))
    file = io.StringIO()
    text.render([finding], lambda at: cells[at.cell or 0], Console(file=file))
    assert file.getvalue().splitlines()[1:11] == [
        " --> nb.ipynb:cell 1:2:12",
        "  |",
        "2 |     return x.mean().detach()",
        "  |            ^^^^^^^^^^ here",
        "  |",
        " ::: nb.ipynb:cell 3",
        "  |",
        "2 |     return x - center(x)",
        "  |            ---------- used",
        "  |",
    ]


def test_concise_is_one_line_each() -> None:
    findings = [
        found(SourceLocation("nb.ipynb", 4, 5, 4, 6, cell=3)),
        found(place("x - mean")),
        found(None, module=ModuleLocation("layer1.0.bn1", "Norm")),
        found(None, module=ModuleLocation("", "Net")),
    ]
    assert concise.render(findings).splitlines() == [
        "nb.ipynb:cell 3:4:5: BN101 a message",
        "norm.py:11:13: BN101 a message",
        "layer1.0.bn1: BN101 a message",
        "(root): BN101 a message",
    ]
    assert concise.render([]) == ""


def marked(*places: tuple[str, str, int]) -> Finding:
    marks = tuple(Mark(role, label, SourceLocation("f.py", line, 5, line, 11)) for role, label, line in places)
    return Finding("BN101", "detached-statistic", Severity.ERROR, "a message", marks[0].location, marks=marks)


def marks_of(findings: list[Finding], source: str | None) -> str:
    file = io.StringIO()
    text.render_marks(findings, lambda _: source, Console(file=file, width=80))
    return file.getvalue()


def test_marks_of_several_findings_share_one_excerpt() -> None:
    mean = marked(("statistic", "one", 1), ("use", "applied", 5))
    var = marked(("statistic", "two", 2), ("use", "applied", 5))
    shown = marks_of([mean, var, mean], "a = x.mean()\nb = x.var()\nc = 1\nd = 2\ny = (x - a) / b\n")
    assert shown.count("--> f.py") == 1
    assert [shown.count(label) for label in ("one", "two", "applied")] == [1, 1, 1]
    assert "c = 1" not in shown


def test_marks_without_source_print_nothing() -> None:
    assert marks_of([marked(("stop", "here", 1))], None) == ""


def test_a_fix_is_shown_as_the_lines_that_go_and_come() -> None:
    file = io.StringIO()
    stop = place("mean.detach()")
    finding = found(stop, fix=Fix("remove `.detach()`", True, ()))
    after = SOURCE.replace("mean = mean.detach()\n", "mean = mean\n")
    text.render([finding], lambda _: SOURCE, Console(file=file), lambda _: (SOURCE, after))
    assert file.getvalue().splitlines()[-5:-1] == [
        "  = help: remove `.detach()` (`bnlint fix` does it)",
        "7 -     mean = mean.detach()",
        "7 +     mean = mean",
        "  = run `bnlint rule BN101` for the page",
    ]


@pytest.mark.parametrize("severity", list(Severity))
def test_a_note_is_not_bold_and_an_error_is(severity: Severity) -> None:
    file = io.StringIO()
    finding = Finding("BN101", "name", severity, "a message", place("mean.detach()"))
    console = Console(file=file, force_terminal=True, color_system="standard", no_color=False, width=100)
    text.render([finding], lambda _: SOURCE, console)
    headline = file.getvalue().splitlines()[0]
    assert headline.startswith({"error": "\x1b[1;31m", "warning": "\x1b[33m", "note": "\x1b[36m"}[severity])
    assert ("\x1b[1mname" in headline) is (severity is not Severity.NOTE)
