from __future__ import annotations

from pathlib import Path

import pytest

from bnlint.config import load
from bnlint.errors import UsageError
from bnlint.vocabulary import Meaning, Vocabulary, Word, is_method, is_path


@pytest.mark.parametrize(
    ("name", "path", "method"),
    [
        ("acme.ops.freeze", True, False),
        ("acme.freeze", True, False),
        ("_acme._C.größe", True, False),
        (".freeze", False, True),
        ("freeze", False, False),
        ("", False, False),
        (".", False, False),
        ("acme.", False, False),
        ("acme..freeze", False, False),
        (".acme.freeze", False, False),
        ("acme.1st", False, False),
        ("acme.freeze()", False, False),
        ("acme. freeze", False, False),
        ("acme.freeze\n", False, False),
        (".freeze\n", False, False),
    ],
)
def test_names_are_paths_or_methods(name: str, path: bool, method: bool) -> None:
    assert (is_path(name), is_method(name)) == (path, method)


def test_words_by_how_they_are_used() -> None:
    path, method = Word("acme.ops.freeze", Meaning.STOP), Word(".named", Meaning.PASS_THROUGH)
    words = Vocabulary((path, method))
    assert words.paths == {"acme.ops.freeze": path}
    assert words.methods == {"named": method}
    assert words.lasts(Meaning.STOP) == {"freeze"}
    assert words.lasts(Meaning.STATISTIC) == frozenset()


def test_the_configuration_declares_them(tmp_path: Path) -> None:
    (tmp_path / "bnlint.toml").write_text(
        'stops = ["a.f", ".g"]\nstatistics = ["a.h"]\npass-through = [".i"]\nnorm-classes = ["a.N"]\n'
    )
    assert load(tmp_path).words == (
        Word("a.f", Meaning.STOP),
        Word(".g", Meaning.STOP),
        Word("a.h", Meaning.STATISTIC),
        Word(".i", Meaning.PASS_THROUGH),
        Word("a.N", Meaning.NORM),
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('stops = "a.f"', "`stops` must be a list of strings"),
        ("statistics = [1]", "`statistics` must be a list of strings"),
        ('stops = [""]', "`stops` must be a list of dotted paths or methods; `` is neither"),
        ('stops = ["freeze"]', "`stops` must be a list of dotted paths or methods; `freeze` is neither"),
        ('pass-through = ["a.f", "a-b.c"]', "`pass-through` must be a list of dotted paths or methods; `a-b.c` is"),
        ('norm-classes = [".Norm"]', "`norm-classes` must be a list of dotted paths; `.Norm` is none"),
        ('rule-folders = "lint"', "`rule-folders` must be a list of strings"),
    ],
)
def test_a_wrong_value_is_one_line(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "bnlint.toml").write_text(text)
    with pytest.raises(UsageError) as caught:
        load(tmp_path)
    assert what in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert (caught.value.hint or "").startswith(f"such as `{text.split(' ', maxsplit=1)[0]} = [")
