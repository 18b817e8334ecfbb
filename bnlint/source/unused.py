"""Suppressions that suppress nothing (BN002), and the edits that remove them.

A file does not know who uses it: a stop in a helper may be one only where another file calls it. So a comment is unused
only if nothing stands in its statement that its rule could ever report.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from bnlint.catalog import BY_CODE
from bnlint.errors import nearest
from bnlint.finding import Edit, Finding, Fix, SourceLocation
from bnlint.flow.ops import COLLECTIVES, GRAD_OFF, STOPS
from bnlint.source.outline import CONVERSIONS, STATISTICS
from bnlint.source.suppress import Comments, Suppression, read_comments
from bnlint.source.text import LINE_ENDS
from bnlint.vocabulary import Meaning, Vocabulary

RULE = "BN002"


def _words(words: Iterable[str]) -> re.Pattern[str]:
    return re.compile(rf"\b({'|'.join(map(re.escape, sorted(words)))})\b")


_DETACHING = [word for word, kind in STOPS.items() if kind in {"detach", "data"}]
#: the words without which a rule reports nothing in a statement; of other rules all that computes may be reported
_CAUSES = {
    "BN001": re.compile("(?!)"),
    "BN101": _words(_DETACHING),
    "BN102": _words({*GRAD_OFF, *STATISTICS}),
    "BN103": _words(_DETACHING),
    "BN104": _words({*(STOPS.keys() - {*_DETACHING}), *CONVERSIONS, "asarray", "array", "as_tensor"}),
    "BN105": _words(COLLECTIVES),
}
_COMPUTES = re.compile(r"[(\[*/+@%=-]")
_NAMED = re.compile(r"bnlint\s*:|noqa\s*:[^\r\n]*\bBN\d", re.IGNORECASE)
_NAMED_AT_ALL = re.compile(r"(bnlint|noqa)\s*:", re.IGNORECASE)


def names_rules(source: str, vocabulary: Vocabulary) -> bool:
    """Whether a file may hold a comment that suppresses one of our rules, or of those that its project adds."""
    if source.isascii():  # a plain search is much quicker than one that knows the cases of all letters
        plain = source.lower()
        if "bnlint" not in plain and "noqa" not in plain:
            return False
    return (_NAMED_AT_ALL if vocabulary.rules else _NAMED).search(source) is not None


def judged(source: str, findings: Sequence[Finding], path: str, vocabulary: Vocabulary) -> list[Finding]:
    """Return the findings that no comment suppresses, and one for each code of a comment that suppresses none."""
    comments = read_comments(source)
    used = {(each, finding.code) for finding in findings for each in comments.covering(finding)}
    left = [finding for finding in findings if not comments.covering(finding)]
    unused = [*_unused(source, comments, used, path, vocabulary), *_unclear(comments, path)]
    return left + [each for each in unused if not comments.covering(each)]


def _unused(
    source: str, comments: Comments, used: set[tuple[Suppression, str]], path: str, vocabulary: Vocabulary
) -> Iterator[Finding]:
    lines, own = LINE_ENDS.split(source), _own_causes(source, vocabulary)
    codes = {*BY_CODE, *vocabulary.rules}
    for each in comments.all:
        reach = _reach(each, comments, lines)
        for index, code in enumerate(each.codes):
            causes = [own[code]] if code in own else []
            causes += [_CAUSES.get(code, _COMPUTES)] if code in BY_CODE else []
            needed = (each, code) in used or any(cause.search(reach) for cause in causes)
            if not needed and (code in vocabulary.rules or _is_ours(each, code)):
                yield _finding(each, index, lines, path, codes)


def _unclear(comments: Comments, path: str) -> Iterator[Finding]:
    """Report the comments that are meant to suppress something, and are not written as those that do."""
    rule = BY_CODE[RULE]
    for row, start, end in comments.unclear:
        where = SourceLocation(path, row, start + 1, row, end + 1)
        yield Finding(
            rule.code,
            rule.name,
            rule.severity,
            "this comment suppresses nothing: a code in brackets is wanted, as in `# bnlint: ignore[BN101] reason`",
            where,
        )


def _own_causes(source: str, vocabulary: Vocabulary) -> dict[str, re.Pattern[str]]:
    """Return by code the declared names, as this file calls them, for which a rule may report a statement."""
    words: dict[str, set[str]] = defaultdict(set)
    for word in vocabulary.words:
        codes = {Meaning.STOP: ("BN101", "BN102", "BN103"), Meaning.STATISTIC: ("BN102",)}.get(word.meaning, ())
        for code in codes if word.rule is None else (word.rule.code,):
            words[code] |= {word.last, *re.findall(rf"\b{word.last}\s+as\s+(\w+)", source)}
    return {code: _words(names) for code, names in words.items()}


def _reach(suppression: Suppression, comments: Comments, lines: Sequence[str]) -> str:
    """Return the code that a comment holds for, without comments at the ends of its lines."""
    first, last = (1, len(lines)) if suppression.of_file else comments.ends.get(suppression.row, (1, 0))
    return "\n".join(comments.without(number, lines[number - 1]) for number in range(first, last + 1))


def _is_ours(suppression: Suppression, code: str) -> bool:
    """Whether the static check can tell that a code is not needed."""
    if code not in BY_CODE:
        return not suppression.foreign
    return code != RULE and "static" in BY_CODE[code].engines


def _finding(suppression: Suppression, index: int, lines: Sequence[str], path: str, codes: Collection[str]) -> Finding:
    code, start, end = suppression.spans[index]
    rule = BY_CODE[RULE]
    if code in codes:
        message = f"this comment suppresses no {code}: none is found here"
    else:
        near = nearest(code, sorted(codes), cutoff=0.6)
        message = f"no rule has the code {code}" + (f"; the nearest is {near}" if near else "")
    return Finding(
        rule.code,
        rule.name,
        rule.severity,
        message,
        SourceLocation(path, suppression.row, start + 1, suppression.row, end + 1),
        fix=_fix(suppression, index, lines, path),
        about=code if code in codes else None,
    )


def _fix(suppression: Suppression, index: int, lines: Sequence[str], path: str) -> Fix:
    """Take a code out of a comment, or the comment out of its line, or the line out of the file.

    All fixes of one comment change the same range, so that of several in one pass only the first is made.
    """
    row, line = suppression.row, lines[suppression.row - 1]
    last = line.find("#", suppression.end)
    stop = last if last >= 0 else len(line)
    before = line[: suppression.start].rstrip()
    others = [code for number, code in enumerate(suppression.spans) if number != index]
    if others:
        kept = ", ".join(line[first:last] for _, first, last in others)
        head, tail = line[suppression.start : suppression.spans[0][1]], line[suppression.spans[-1][2] : stop]
        place = SourceLocation(path, row, suppression.start + 1, row, stop + 1)
        return Fix(f"take {suppression.codes[index]} out of the comment", True, (Edit(place, head + kept + tail),))
    if before or last >= 0:
        gap = line[len(before) : suppression.start] if last >= 0 else ""
        place = SourceLocation(path, row, len(before) + 1, row, stop + 1)
        return Fix("remove the comment", True, (Edit(place, gap),))
    end = (row + 1, 1) if row < len(lines) else (row, len(line) + 1)
    return Fix("remove the comment", True, (Edit(SourceLocation(path, row, 1, *end), ""),))
