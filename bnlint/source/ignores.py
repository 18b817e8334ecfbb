"""Write the comments that suppress findings."""

from __future__ import annotations

import ast
from collections.abc import Sequence

from bnlint.errors import InputError, UsageError
from bnlint.finding import Edit, Finding, SourceLocation
from bnlint.source.suppress import read_comments
from bnlint.source.text import LINE_ENDS, SourceText, apply

#: rules that no comment suppresses, or should
NEVER = ("BN001", "BN002")


def with_ignores(source: bytes, path: str, findings: Sequence[Finding], reason: str) -> bytes:
    """Put `# bnlint: ignore[CODE] reason` on the last line of each statement that has a finding.

    Raises:
        UsageError: The encoding of the file has no characters for the reason.
    """
    text = SourceText.decode(source)
    try:
        return text.encode(apply(text, ignore_edits(text, path, findings, reason)))
    except UnicodeEncodeError as error:
        raise UsageError(f"the reason cannot be written in {text.encoding}", where=path) from error


def ignore_edits(text: SourceText, path: str, findings: Sequence[Finding], reason: str) -> list[Edit]:
    """Return the edits that write these comments.

    Raises:
        InputError: With them the text means something else.
    """
    comments, lines = read_comments(text.text), LINE_ENDS.split(text.text)
    wanted: dict[int, set[str]] = {}
    for finding in findings:
        if finding.location and finding.code not in NEVER and finding.location.line in comments.ends:
            row = comments.ends[finding.location.line][1]
            wanted.setdefault(row, set()).add(finding.code)
    edits: list[Edit] = []
    for row, codes in wanted.items():
        listed = ", ".join(sorted(codes))
        there = next((each for each in comments.all if each.row == row and not (each.of_file or each.foreign)), None)
        column = there.spans[-1][2] if there else len(lines[row - 1].rstrip())
        added = f", {listed}" if there else f"  # bnlint: ignore[{listed}] {reason}"
        edits.append(Edit(SourceLocation(path, row, column + 1, row, column + 1), added))
    if ast.dump(ast.parse(apply(text, edits))) != ast.dump(ast.parse(text.text)):
        raise InputError("no comment can be written into it without a change of meaning", where=path)
    return edits
