"""The static check: source text in, findings out."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bnlint.catalog import BY_CODE
from bnlint.finding import Finding, SourceLocation
from bnlint.source.checked import Checked
from bnlint.source.conversion import conversions, may_convert
from bnlint.source.followed import followed
from bnlint.source.project import Project
from bnlint.source.screen import may_hold_findings
from bnlint.source.spelling import absolute
from bnlint.source.suppress import suppressed
from bnlint.source.text import SourceText, apply, compatible, parsed
from bnlint.source.unused import judged, names_rules
from bnlint.vocabulary import NO_WORDS

#: how often a file is checked again after fixes that made room for others
MAX_PASSES = 10
#: larger files are parsed only where they hold something to look at
MAX_PARSED = 8_000
#: what decoding and parsing raise
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)


def check_source(source: bytes, path: str, project: Project | None = None) -> list[Finding]:
    """Check one file.

    Args:
        source: The bytes of the file.
        path: What the findings call the file.
        project: The files around it; without, each import leads out of what is seen.

    Returns:
        The findings in source order, without those that a comment suppresses; those in other files come last.
    """
    return list(inspect_source(source, path, project).findings)


def inspect_source(source: bytes, path: str, project: Project | None = None) -> Checked:
    """Check one file as `check_source` does, and say which functions could not be followed."""
    try:
        text = SourceText.decode(source)
        tree = parsed(text.text) if len(source) <= MAX_PARSED or may_convert(source) else None
        lossy = _lossy_conversions(text, tree, path) if tree is not None and may_convert(source) else []
        if project is None:
            checked = followed(text, path, None) if may_hold_findings(source) else Checked()
        else:
            with project.checking(absolute(Path(path))):
                checked = followed(text, path, project)
    except NOT_PYTHON as error:
        return Checked((_broken(path, error),))
    found = sorted([*checked.findings, *lossy], key=_position)
    return Checked(tuple(_unsuppressed(text, path, project, found)), checked.lost)


def _lossy_conversions(text: SourceText, tree: ast.Module, path: str) -> list[Finding]:
    """List the conversions of layers that lose a part of their state."""
    rule = BY_CODE["BN401"]
    return [
        Finding(rule.code, rule.name, rule.severity, each.message, text.locate(each.node, path), each.function)
        for each in conversions(tree)
    ]


def _unsuppressed(text: SourceText, path: str, project: Project | None, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that no comment suppresses, and the comments of the file that suppress none.

    A comment holds in the file of the stop.
    """
    own = [finding for finding in findings if finding.location is None or finding.location.path == path]
    words = NO_WORDS if project is None else project.words.vocabulary(absolute(Path(path)))
    kept = sorted(judged(text.text, own, path, words), key=_position) if names_rules(text.text, words) else own
    others = {f.location.path: None for f in findings if f.location is not None and f.location.path != path}
    for other in others:
        read = project.read(absolute(Path(other))) if project is not None else None
        there = [finding for finding in findings if finding.location is not None and finding.location.path == other]
        kept += suppressed(read.text.text, there) if read is not None else there
    return kept


def fix_source(
    source: bytes,
    path: str,
    wanted: Callable[[Finding], bool],
    project: Project | None = None,
    *,
    unsafe: bool = False,
) -> bytes:
    """Apply the fixes of the wanted findings until none is left.

    The result parses, else the text before the offending fix comes back.

    Args:
        source: The bytes of the file.
        path: What the findings call the file.
        wanted: Which findings to fix.
        project: The files around it.
        unsafe: Whether to apply fixes that are not safe as well.
    """
    for _ in range(MAX_PASSES):
        found = (finding.fix for finding in check_source(source, path, project) if wanted(finding))
        fixes = [fix for fix in found if fix is not None and (fix.safe or unsafe)]
        if not fixes:
            break
        text = SourceText.decode(source)
        fixed = text.encode(apply(text, compatible(fixes)))
        if fixed == source or not _is_python(fixed):
            break
        source = fixed
    return source


def _is_python(source: bytes) -> bool:
    with suppress(*NOT_PYTHON):
        parsed(SourceText.decode(source).text)
        return True
    return False


def _broken(path: str, error: BaseException) -> Finding:
    """Say why a file cannot be parsed."""
    message, line, column = "nested too deeply to be read", 1, 1
    match error:
        case SyntaxError():
            message, line, column = f"not valid Python: {error.msg}", error.lineno or 1, max(error.offset or 1, 1)
        case ValueError():
            message = f"not valid Python: cannot be decoded: {error}"
    rule = BY_CODE["BN001"]
    where = SourceLocation(path, line, column, line, column)
    return Finding(rule.code, rule.name, rule.severity, message.splitlines()[0], where)


def _position(finding: Finding) -> tuple[int, int, str]:
    where = finding.location
    return (where.line, where.column, finding.code) if where else (0, 0, finding.code)
