"""Comments that suppress: whatever they say, they are read at their places, and those that are not needed go once."""

from __future__ import annotations

import ast

from fuzzing import tried
from hypothesis import given
from hypothesis import strategies as st

from bnlint.source.check import check_source, fix_source
from bnlint.source.suppress import read_comments, suppressed
from bnlint.source.text import LINE_ENDS

WORDS = st.sampled_from(
    [
        *("#", "# ", "bnlint", ":", " ", "\t", "ignore"),
        *("Ignore", "-file", "[", "]", ",", "noqa", "NOQA", "type: ignore"),
        *("BN101", "bn102", "BN103", "BN002", "BN999", "BN1", "E501"),
        *("ALL", "ACME1", "BN101,BN102", "é", "名", "\x0c", "\\"),
        *("# bnlint: ignore[BN101]", "# bnlint: ignore-file[BN104] why", "# noqa: BN101, E501"),
        *("why", "'''", "disable="),
    ]
)  # fmt: skip
COMMENTS = st.lists(WORDS, max_size=7).map(lambda words: "# " + "".join(words))
STATEMENTS = st.sampled_from(
    [
        *(
            "x = 1",
            "m = x.mean()",
            "m = x.mean().detach()",
            "y = x - m",
            "y = (x\n    - m)",
            "if x:\n    y = 2",
            "s = '#'",
        ),
        *(
            "s = '''\n# bnlint: ignore[BN101]\n'''",
            "def f(x):\n    return x - x.mean(0).detach()",
            "n = float(x.mean())",
        ),
    ]
)


@st.composite
def sources(draw: st.DrawFn) -> str:
    gaps = st.sampled_from(["  {}", "\t{}", "\n{}", "\n    {}", ""])
    pairs = draw(st.lists(st.tuples(STATEMENTS, gaps, COMMENTS), max_size=4))
    end = draw(st.sampled_from(["\n", "", "\n\n", "\r\n"]))
    return "\n".join(statement + gap.format(comment) for statement, gap, comment in pairs) + end


@tried(40)
@given(sources())
def test_comments_are_read_where_they_stand(source: str) -> None:
    comments, lines = read_comments(source), LINE_ENDS.split(source)
    for each in comments.all:
        line = lines[each.row - 1]
        assert line[each.start] == "#" and each.codes
        assert [line[first:last].upper() for _, first, last in each.spans] == list(each.codes)
        assert all(each.start < first < last <= each.end for _, first, last in each.spans)
    for row, start, end in comments.unclear:
        assert lines[row - 1][start:end].lower().lstrip("#").lstrip().startswith("bnlint")
    found = check_source(source.encode(), "a.py")
    assert suppressed(source, found) == found


@tried(40)
@given(sources())
def test_what_is_not_needed_goes_once_and_nothing_else(source: str) -> None:
    content = source.encode()
    fixed = fix_source(content, "a.py", lambda finding: finding.code == "BN002")
    assert fix_source(fixed, "a.py", lambda finding: finding.code == "BN002") == fixed
    assert ast.dump(ast.parse(fixed)) == ast.dump(ast.parse(content))
    before, after = (check_source(each, "a.py") for each in (content, fixed))
    assert [f.code for f in before if f.code != "BN002"] == [f.code for f in after if f.code != "BN002"]
    assert all(f.fix is None for f in after if f.code == "BN002")
