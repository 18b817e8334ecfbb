"""The static check of a file of any kind: a module, or the cells of a notebook."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from bnlint.finding import Edit, Finding, Fix
from bnlint.source.cells import read_notebook
from bnlint.source.checked import Checked
from bnlint.source.discover import is_notebook
from bnlint.source.ignores import ignore_edits, with_ignores
from bnlint.source.notebook import Notebook
from bnlint.source.notebook_file import NotebookFile
from bnlint.source.project import Project
from bnlint.source.suppress import suppressed
from bnlint.source.text import SourceText, compatible
from bnlint.source.unused import RULE as UNUSED

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def inspect(source: bytes, path: str, project: Project | None = None) -> Checked:
    """Check one file as `inspect_source` does."""
    # What is known from the cache needs neither the analysis nor libcst.
    from bnlint.source.check import inspect_source

    if not is_notebook(path):
        return inspect_source(source, path, project)
    notebook = read_notebook(source, path)
    checked = _checked(notebook, project)
    found = [*notebook.broken, *(notebook.told(finding) for finding in checked.findings)]
    return Checked(tuple(sorted(found, key=lambda finding: _position(finding, path))), checked.lost)


def _checked(notebook: Notebook, project: Project | None) -> Checked:
    """Check the module of a notebook, and what it was before a definition came anew."""
    from bnlint.source.check import inspect_source

    if not notebook.cells:
        return Checked()
    whole = inspect_source(notebook.module.encode(), notebook.path, project)
    found = {_key(finding): finding for finding in whole.findings}
    for text in notebook.earlier():
        checked = inspect_source(text.encode(), notebook.path, project)
        # Whether a comment is used, and what it suppresses, the whole notebook tells.
        told = [finding for finding in checked.findings if finding.code != UNUSED]
        own = [finding for finding in told if finding.location and finding.location.path == notebook.path]
        left = suppressed(notebook.module, own)
        for finding in told:
            if finding in left or finding not in own:
                found.setdefault(_key(finding), finding)
    return Checked(tuple(found.values()), whole.lost)


def _key(finding: Finding) -> object:
    return finding.code, finding.location, finding.statistic


def fix(
    source: bytes,
    path: str,
    wanted: Callable[[Finding], bool],
    project: Project | None = None,
    *,
    unsafe: bool = False,
) -> bytes:
    """Apply the fixes of the wanted findings as `fix_source` does; of a notebook, no byte changes but theirs."""
    from bnlint.source.check import MAX_PASSES, fix_source

    if not is_notebook(path):
        return fix_source(source, path, wanted, project, unsafe=unsafe)
    for _ in range(MAX_PASSES):
        found = (finding.fix for finding in inspect(source, path, project).findings if wanted(finding))
        fixes = [each for each in found if each is not None and (each.safe or unsafe)]
        if not fixes:
            break
        notebook = read_notebook(source, path)
        fixed = NotebookFile.of(source, path).edited(_together(notebook, fixes))
        if fixed == source or read_notebook(fixed, path).broken != notebook.broken:
            break
        source = fixed
    return source


def _together(notebook: Notebook, fixes: Iterable[Fix]) -> list[Edit]:
    """Return the edits of fixes that do not get into each other's way."""
    inward = (
        Fix(each.message, each.safe, tuple(Edit(notebook.inward(e.location), e.replacement) for e in each.edits))
        for each in fixes
    )
    return [Edit(notebook.outward(edit.location), edit.replacement) for edit in compatible(inward)]


def ignoring(source: bytes, path: str, findings: Sequence[Finding], reason: str) -> bytes:
    """Write comments that suppress findings as `with_ignores` does."""
    if not is_notebook(path):
        return with_ignores(source, path, findings, reason)
    notebook = read_notebook(source, path)
    inward = [replace(each, location=notebook.inward(each.location)) for each in findings if each.location is not None]
    edits = ignore_edits(SourceText.of(notebook.module), path, inward, reason)
    outward = [Edit(notebook.outward(edit.location), edit.replacement) for edit in edits]
    return NotebookFile.of(source, path).edited(outward)


def diff(before: bytes, after: bytes, path: str) -> str:
    """Return the change of a file as a unified diff; of a notebook one for each cell that changes."""
    if before == after:
        return ""
    if not is_notebook(path):
        old, new = (SourceText.decode(content).text for content in (before, after))
        return _unified(old, new, f"{path}\t" if " " in path else path)
    cells = zip(read_notebook(before, path).cells, read_notebook(after, path).cells, strict=True)
    return "".join(_unified(f"{old.text}\n", f"{new.text}\n", f"{path}:cell {old.number}") for old, new in cells)


def _unified(old: str, new: str, name: str) -> str:
    """Return a change as `patch` reads it: only a newline ends a line, and a tab the name of a file with blanks."""
    old_lines, new_lines = (_LINE.findall(text) for text in (old, new))
    lines = difflib.unified_diff(old_lines, new_lines, name, name)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _position(finding: Finding, path: str) -> tuple[bool, int, int, int]:
    """Place findings in other files behind those of the notebook, as they come."""
    where = finding.location
    if where is None or where.path != path:
        return True, 0, 0, 0
    return False, where.cell or 0, where.line, where.column
