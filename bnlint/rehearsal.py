"""Whether a project's own rule page is true: its blocks of code are checked, as the tests of bnlint check its own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from bnlint.finding import Finding, Severity
from bnlint.pages import Block, Page
from bnlint.source.check import check_source, fix_source
from bnlint.source.project import Project
from bnlint.vocabulary import Vocabulary

_SILENT = frozenset({"Good", "Fixed", "When it is right"})
_MARKER = re.compile(r"[ \t]*#[ \t]*([A-Z]+[0-9]+)[ \t]*$", re.MULTILINE)
#: what the code of a block is called
_FILE = "page.py"


def deviations(page: Page, words: Vocabulary) -> Iterator[str]:
    """Yield where a page says something else than what is found.

    Under Bad, the lines that end in a comment with a code are those that are reported; under Good, Fixed and When it is
    right nothing is. Notes of other rules do not count.
    """
    project = Project([Path(_FILE)], lambda _: words)
    fixed = [block.code for block in page.blocks if block.section == "Fixed"]
    bad = [block for block in page.blocks if block.section == "Bad"]
    for block in page.blocks:
        if block.section in _SILENT or block in bad:
            yield from _differences(page, block, project)
    for block, right in zip(bad, fixed, strict=False):
        code = _MARKER.sub("", block.code)
        made = fix_source(code.encode(), _FILE, lambda _: True, project).decode()
        if made not in {code, right}:
            yield f"{_place(page, block.line)}: `bnlint fix` does not make the block under Fixed of this one"


def _differences(page: Page, block: Block, project: Project) -> Iterator[str]:
    lines = enumerate(block.code.splitlines(), block.line)
    marked = {(number, match[1]) for number, line in lines if (match := _MARKER.search(line))}
    findings = check_source(_MARKER.sub("", block.code).encode(), _FILE, project)
    found = {(_line(f) + block.line - 1, f.code) for f in findings if f.code == page.code or _is_loud(f)}
    for number, code in sorted(marked - found):
        yield f"{_place(page, number)}: {code} is not found here"
    for number, code in sorted(found - marked):
        yield f"{_place(page, number)}: {code} is found here, and no comment says so"


def _is_loud(finding: Finding) -> bool:
    return finding.severity is not Severity.NOTE


def _line(finding: Finding) -> int:
    return finding.location.line if finding.location else 1


def _place(page: Page, line: int) -> str:
    return f"{page.code}-{page.name}.md:{line}"
