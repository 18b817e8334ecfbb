from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.errors import BnlintError
from bnlint.finding import Severity
from bnlint.pages import SECTIONS, Block, load_pages, parse_page

PAGE = '''\
+++
code = "BN101"
name = "detached-statistic"
severity = "error"
engines = ["static", "runtime"]
since = "0.1"
+++

# BN101 detached-statistic

## What it does
Looks for statistics
that are detached.

A second paragraph.

## Why is this bad?
```text
## Bad
```

## Bad
```python
# Bad
x = 1  # BN101

```
words

```python
y = """
```not a fence
"""
```

## Good
### From real code
~~~~python
z = 1
~~~
~~~~

## Fixed
````python
w = 1
````
```pycon
>>> 1
```

## Fix safety
Safe.

## When it is right
```python
running = mean.detach()
```

## References
None.
'''


def write(folder: Path, text: str = PAGE, name: str = "BN101-detached-statistic.md") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_facts_and_text(tmp_path: Path) -> None:
    page = parse_page(write(tmp_path))
    assert (page.code, page.name, page.severity, page.since) == ("BN101", "detached-statistic", Severity.ERROR, "0.1")
    assert page.engines == ("static", "runtime")
    assert page.summary == "Looks for statistics that are detached."
    assert page.text == PAGE.split("+++\n\n")[1]


def test_blocks_have_section_code_and_line(tmp_path: Path) -> None:
    page = parse_page(write(tmp_path))
    lines = PAGE.splitlines()
    assert page.blocks == (
        Block("Bad", "# Bad\nx = 1  # BN101\n\n", lines.index("# Bad") + 1),
        Block("Bad", 'y = """\n```not a fence\n"""\n', lines.index('y = """') + 1),
        Block("Good", "z = 1\n~~~\n", lines.index("z = 1") + 1),
        Block("Fixed", "w = 1\n", lines.index("w = 1") + 1),
        Block("When it is right", "running = mean.detach()\n", lines.index("running = mean.detach()") + 1),
    )


@pytest.mark.parametrize("title", SECTIONS)
def test_missing_heading_is_named(tmp_path: Path, title: str) -> None:
    with pytest.raises(BnlintError, match=f"heading `{title.replace('?', '.')}` is missing"):
        parse_page(write(tmp_path, PAGE.replace(f"\n## {title}\n", "\n", 1).replace(f"\n## {title}\n", "\n")))


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("## Fix safety\nSafe.\n", "## Good\n## Fix safety\nSafe.\n", "repeated or out of order"),
        ("## Fix safety", "## References", "heading `Fix safety` is missing"),
        ("````\n```pycon", "```pycon", "not closed"),
        ("Looks for statistics\nthat are detached.\n\nA second paragraph.\n", "", "nothing stands under"),
        ("+++\ncode", "code", "front matter between"),
        ('since = "0.1"\n', "", "front matter lacks 'since'"),
        ('since = "0.1"', "since = 0.1", "front matter: it has the strings"),
        ('since = "0.1"', 'since = "0.1"\nextra = 1', "front matter: it has the strings"),
        ('["static", "runtime"]', '"static"', "front matter: it has the strings"),
        ('"error"', '"fatal"', "'fatal' is not a valid Severity"),
        ('"error"', '"error', "front matter"),
        ('name = "detached', 'name = "stopped', "must be BN101-stopped-statistic.md"),
    ],
)
def test_page_of_another_form_is_refused(tmp_path: Path, old: str, new: str, what: str) -> None:
    assert old in PAGE
    file = write(tmp_path, PAGE.replace(old, new))
    with pytest.raises(BnlintError, match=what) as caught:
        parse_page(file)
    assert (caught.value.where or "").startswith(str(file))


def test_swapped_headings_are_refused(tmp_path: Path) -> None:
    swapped = (
        PAGE.replace("## Bad\n```python", "## X\n```python").replace("## Good", "## Bad").replace("## X", "## Good")
    )
    with pytest.raises(BnlintError, match="out of order"):
        parse_page(write(tmp_path, swapped))


def test_unclosed_block_says_where(tmp_path: Path) -> None:
    file = write(tmp_path, PAGE.rsplit("```\n\n## References", 1)[0])
    with pytest.raises(BnlintError, match="not closed") as caught:
        parse_page(file)
    assert caught.value.where == f"{file}:{PAGE.splitlines().index('running = mean.detach()')}"


def test_folder_of_pages_is_read_in_order_of_codes(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, PAGE.replace('"BN101"', '"BN001"'), "BN001-detached-statistic.md")
    write(tmp_path, "not a rule page", "README.md")
    assert list(load_pages(tmp_path)) == ["BN001", "BN101"]


def test_same_code_twice_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, PAGE.replace("detached-statistic", "other"), "BN101-other.md")
    with pytest.raises(BnlintError, match="BN101 has a second page"):
        load_pages(tmp_path)


def test_folder_without_pages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BnlintError, match="no rule pages"):
        load_pages(tmp_path)
