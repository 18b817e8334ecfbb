"""Comments that suppress findings: `# bnlint: ignore[BN101] reason` and its relatives."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bnlint.finding import Finding

_CODES = r"[A-Za-z]+[0-9]+(?:\s*,\s*[A-Za-z]+[0-9]+)*"
_IGNORE = re.compile(rf"#\s*bnlint:\s*ignore(?P<file>-file)?\[\s*(?P<codes>{_CODES})\s*\]")
#: what somebody writes who wants to suppress something
_MEANT = re.compile(
    r"(?:(?<=^)|(?<=\s))#\s*bnlint\s*:\s*(?:ignore|disable|noqa|skip|off)\b(?:-file\b)?(?:\s*[\[(=:][^#]*)?",
    re.IGNORECASE,
)
#: as flake8 and ruff read it: blanks separate as commas do
_NOQA = re.compile(r"#\s*noqa\s*:\s*(?P<codes>[A-Z]+[0-9]+(?:(?:\s*,\s*|\s+)[A-Z]+[0-9]+(?![A-Z]))*)", re.IGNORECASE)
_NOT_CODE = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT}


@dataclass(frozen=True, slots=True)
class Suppression:
    """A comment, or the part of one, that suppresses rules.

    Attributes:
        row: Its line.
        start: The column, from 0, at which it starts.
        end: The column at which its list of codes ends, brackets included.
        spans: For each code in upper case the columns of the list at which it stands.
        of_file: Whether it holds for the whole file.
        foreign: Whether it is a `noqa`, whose other codes belong to other tools.
    """

    row: int
    start: int
    end: int
    spans: tuple[tuple[str, int, int], ...]
    of_file: bool
    foreign: bool

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes that it names."""
        return tuple(code for code, _, _ in self.spans)


@dataclass(frozen=True, slots=True)
class Comments:
    """What the comments of one file suppress.

    `ends` gives, for each line of code, the first and the last line of its logical line: only a comment
    on one of these two is read. `starts` gives the columns, from 0, at which comments of any kind start. `unclear` are
    the row and the columns of each comment that is meant to suppress something, and does not say what.
    """

    all: tuple[Suppression, ...]
    ends: dict[int, tuple[int, int]] = field(default_factory=dict)
    starts: dict[int, int] = field(default_factory=dict)
    unclear: tuple[tuple[int, int, int], ...] = ()

    def without(self, row: int, line: str) -> str:
        """Return a line without its comment."""
        return line[: self.starts.get(row, len(line))]

    def covering(self, finding: Finding) -> list[Suppression]:
        """Return the comments that suppress a finding."""
        line = finding.location.line if finding.location else 0
        rows = self.ends.get(line, (line,))
        return [each for each in self.all if finding.code in each.codes and (each.of_file or each.row in rows)]


def suppressed(source: str, findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings of one file that no comment in its source suppresses, in the order given.

    A comment holds for the logical line, compound statements counting by their header, on whose first
    or last physical line it stands; `ignore-file` holds for the file. A comment without a code
    suppresses nothing, and neither does one in a file that cannot be tokenized.
    """
    if not findings or ("bnlint" not in source and "noqa" not in source.lower()):
        return list(findings)
    comments = read_comments(source)
    return [finding for finding in findings if not comments.covering(finding)]


def read_comments(source: str) -> Comments:
    """Read the comments of a file."""
    found: list[Suppression] = []
    ends: dict[int, tuple[int, int]] = {}
    starts: dict[int, int] = {}
    unclear: list[tuple[int, int, int]] = []
    first = 0
    for token in _tokens(source):
        row = token.start[0]
        if token.type == tokenize.COMMENT:
            found += _suppressions(token)
            unclear += _unclear(token)
            starts[row] = token.start[1]
        elif token.type == tokenize.NEWLINE:
            ends.update(dict.fromkeys(range(first, row + 1), (first, row)))
            first = 0
        elif token.type not in _NOT_CODE:
            first = first or row
    return Comments(tuple(found), ends, starts, tuple(unclear))


def _unclear(token: tokenize.TokenInfo) -> Iterator[tuple[int, int, int]]:
    (row, column), comment = token.start, token.string
    clear = {match.start() for match in _IGNORE.finditer(comment)}
    for match in _MEANT.finditer(comment):
        if match.start() not in clear:
            yield row, column + match.start(), column + len(match[0].rstrip()) + match.start()


def _suppressions(token: tokenize.TokenInfo) -> Iterator[Suppression]:
    (row, column), comment = token.start, token.string
    for match in (*_IGNORE.finditer(comment), *_NOQA.finditer(comment)):
        listed = re.finditer(r"\w+", match["codes"])
        offset = column + match.start("codes")
        spans = tuple((each[0].upper(), offset + each.start(), offset + each.end()) for each in listed)
        of_file = bool(match.groupdict().get("file"))
        yield Suppression(row, column + match.start(), column + match.end(), spans, of_file, match.re is _NOQA)


def _tokens(source: str) -> list[tokenize.TokenInfo]:
    # A lone carriage return ends a line for Python too, though by default not for StringIO.
    text = io.StringIO(source, newline=None)
    try:
        return list(tokenize.generate_tokens(text.readline))
    except (tokenize.TokenError, SyntaxError):
        return []
