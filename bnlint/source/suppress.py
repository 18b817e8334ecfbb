"""Comments that suppress findings: `# bnlint: ignore[BN101] reason` and its relatives."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Sequence
from dataclasses import dataclass

from bnlint.finding import Finding

_CODES = r"[A-Za-z]+[0-9]+(?:\s*,\s*[A-Za-z]+[0-9]+)*"
_IGNORE = re.compile(rf"#\s*bnlint:\s*ignore(?P<file>-file)?\[\s*(?P<codes>{_CODES})\s*\]")
_NOQA = re.compile(rf"#\s*noqa\s*:\s*(?P<codes>{_CODES})", re.IGNORECASE)
_NOT_CODE = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


@dataclass(frozen=True, slots=True)
class _Comments:
    """What the comments of one file suppress.

    `ends` gives, for each line of code, the first and the last line of its logical line: only a comment
    on one of these two is read.
    """

    file: frozenset[str]
    lines: dict[int, frozenset[str]]
    ends: dict[int, tuple[int, int]]


def suppressed(source: str, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings of one file that no comment in its source suppresses, in the order given.

    A comment holds for the logical line, compound statements counting by their header, on whose first
    or last physical line it stands; `ignore-file` holds for the file. A comment without a code
    suppresses nothing, and neither does one in a file that cannot be tokenized.
    """
    if not findings or ("bnlint" not in source and "noqa" not in source.lower()):
        return list(findings)
    comments = _read(source)
    return [finding for finding in findings if not _is_suppressed(finding, comments)]


def _is_suppressed(finding: Finding, comments: _Comments) -> bool:
    if finding.code in comments.file:
        return True
    if finding.location is None:
        return False
    line = finding.location.line
    return any(finding.code in comments.lines.get(end, ()) for end in comments.ends.get(line, (line,)))


def _read(source: str) -> _Comments:
    file: set[str] = set()
    lines: dict[int, frozenset[str]] = {}
    ends: dict[int, tuple[int, int]] = {}
    first = 0
    for token in _tokens(source):
        row = token.start[0]
        if token.type == tokenize.COMMENT:
            file_codes, line_codes = _codes(token.string)
            file |= file_codes
            lines[row] = line_codes
        elif token.type == tokenize.NEWLINE:
            ends.update(dict.fromkeys(range(first, row + 1), (first, row)))
            first = 0
        elif token.type not in _NOT_CODE:
            first = first or row
    return _Comments(frozenset(file), lines, ends)


def _codes(comment: str) -> tuple[frozenset[str], frozenset[str]]:
    of_file: set[str] = set()
    of_line: set[str] = set()
    for match in (*_IGNORE.finditer(comment), *_NOQA.finditer(comment)):
        target = of_file if match.groupdict().get("file") else of_line
        target.update(re.split(r"\s*,\s*", match["codes"].upper()))
    return frozenset(of_file), frozenset(of_line)


def _tokens(source: str) -> list[tokenize.TokenInfo]:
    # A lone carriage return ends a line for Python too, though by default not for StringIO.
    text = io.StringIO(source, newline=None)
    try:
        return list(tokenize.generate_tokens(text.readline))
    except (tokenize.TokenError, SyntaxError):
        return []
