"""The rules that a project adds: its own rule pages, each of which claims names that stop a gradient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bnlint.errors import BnlintError, UsageError
from bnlint.pages import Page, parse_page
from bnlint.paths import is_folder
from bnlint.vocabulary import Meaning, OwnRule, Vocabulary, Word, is_method, is_path

_CODE = re.compile(r"(?!BN)[A-Z]+[0-9]+")
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def load_own_pages(folders: Sequence[Path]) -> dict[str, Page]:
    """Read the rule pages in some folders, by code: each `.md` file but README.md is one.

    Raises:
        UsageError: If a folder holds no page, or a page is not as it should be.
    """
    pages: dict[str, Page] = {}
    for folder in folders:
        there = is_folder(folder)
        files = sorted(file for file in folder.glob("*.md") if file.name != "README.md") if there else []
        if not files:
            what = "has no rule pages" if there else "no such folder"
            raise UsageError(what, where=str(folder), hint="`rule-folders` names folders with pages CODE-name.md")
        for file in files:
            page = _page(file)
            if page.code in pages:
                raise UsageError(f"{page.code} has a second page", where=str(file))
            pages[page.code] = page
    return pages


def _page(file: Path) -> Page:
    try:
        page = parse_page(file)
    except BnlintError as error:
        raise UsageError(error.what, where=error.where, hint=error.hint) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot be read: {getattr(error, 'strerror', None) or error}", where=str(file)) from error
    if not _CODE.fullmatch(page.code):
        what = f"the code `{page.code}` must be capital letters and a number, and not begin with BN"
        raise UsageError(what, where=str(file), hint="such as ACME101")
    if not _NAME.fullmatch(page.name):
        raise UsageError(f"the name `{page.name}` must be lowercase words with hyphens", where=str(file))
    if page.engines != ("static",):
        raise UsageError('`engines` must be ["static"]: only the check of source knows names', where=str(file))
    wrong = [name for name in page.stops if not (is_path(name) or is_method(name))]
    if wrong or not page.stops:
        told = f"; `{wrong[0]}` is neither" if wrong else ""
        what = f"`stops` must be a list of dotted paths or methods{told}"
        raise UsageError(what, where=str(file), hint='such as `stops = ["acme.ops.freeze", ".freeze"]`')
    return page


def vocabulary(words: Iterable[Word], pages: Mapping[str, Page], file: Path | None) -> Vocabulary:
    """Put the words of a configuration file, and those that its rule pages claim, together.

    Raises:
        UsageError: If a name is declared as two things.
    """
    listed = list(words)
    for page in pages.values():
        rule = OwnRule(page.code, page.name, page.severity)
        listed += [Word(name, Meaning.STOP, rule) for name in dict.fromkeys(page.stops)]
    known: dict[str, Word] = {}
    for word in listed:
        first = known.setdefault(word.name, word)
        if first != word:
            what = f"`{word.name}` is declared twice: in {_place(first)} and in {_place(word)}"
            raise UsageError(what, where=str(file), hint="a name means one thing")
    return Vocabulary(tuple(known.values()))


def _place(word: Word) -> str:
    return f"the page of {word.rule.code}" if word.rule else f"`{word.meaning}`"
