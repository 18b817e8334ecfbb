"""Whatever a file holds: the check answers, a fix changes what was found and no more, and a second one nothing."""

from __future__ import annotations

import ast
import io
import tokenize

from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st
from spoiled import files

from bnlint.errors import InputError
from bnlint.finding import Finding
from bnlint.source.check import check_source, fix_source
from bnlint.source.ignores import NEVER, with_ignores
from bnlint.source.project import Project


def all_of(_: Finding) -> bool:
    return True


def parses(source: bytes) -> bool:
    """As Python sees a file, with the encoding that it finds; `ast.parse` alone takes bytes that are in none."""
    try:
        source.decode(tokenize.detect_encoding(io.BytesIO(source).readline)[0])
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def rows(source: bytes) -> int:
    return source.replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1


@tried(30)
@given(files(), st.booleans())
def test_a_file_is_checked_and_fixed_once(source: bytes, unsafe: bool) -> None:
    found = check_source(source, "a.py")
    places = [finding.location for finding in found]
    assert all(place is not None and place.path == "a.py" and place.line >= 1 and place.column >= 1 for place in places)
    fixed = fix_source(source, "a.py", all_of, unsafe=unsafe)
    if not any(each.fix is not None and (each.fix.safe or unsafe) for each in found):
        assert fixed == source
    if fixed != source:
        assert parses(source) <= parses(fixed)
        assert fix_source(fixed, "a.py", all_of, unsafe=unsafe) == fixed
    if parses(source):
        assert "BN001" not in {finding.code for finding in found}
        assert all(place is not None and place.end_line <= rows(source) for place in places)


@tried(10)
@given(files())
def test_a_file_of_a_project_says_what_it_says_alone(source: bytes) -> None:
    """Without other files around it, nothing is gained and nothing lost by a project."""
    alone, inside = check_source(source, "a.py"), check_source(source, "a.py", Project())
    assert [(f.code, f.location, f.statistic) for f in alone] == [(f.code, f.location, f.statistic) for f in inside]


@tried(15)
@given(files())
def test_comments_that_suppress_change_no_code(source: bytes) -> None:
    found = [finding for finding in check_source(source, "a.py") if finding.code not in NEVER]
    if not found:
        return
    try:
        ignoring = with_ignores(source, "a.py", found, "meant")
    except InputError:  # it says so
        return
    left = check_source(ignoring, "a.py")
    assert parses(source) <= parses(ignoring)
    if parses(source):
        assert ast.dump(ast.parse(source)) == ast.dump(ast.parse(ignoring))
        assert [f.code for f in left if f.code not in NEVER] == []
