"""The command `rule`: print the pages of rules, list them, or test those of the project."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

from bnlint.config import Config, require_known
from bnlint.errors import UsageError
from bnlint.pages import Page, load_pages
from bnlint.settings import Settings
from bnlint.shell import Paper


def rule(code: str | None, every: bool, test: bool, **options: Any) -> int:
    """Print one rule page, every page, or the list of rules; or test the pages of the project's own rules."""
    from rich.markdown import Markdown

    if code is not None and every:
        raise UsageError("a rule, or every rule?", hint=f"bnlint rule {code}")
    settings, pages = Settings(options), load_pages()
    if code is None or code.upper() not in pages:  # what bnlint brings is told whatever the configuration is like
        pages = settings.pages()
    if test:
        return _test_pages(code, settings)
    paper = Paper().console()
    if code is None and not every:
        for row in _rows(list(pages.values())):
            click.echo(row if not paper.is_terminal or len(row) <= paper.width else f"{row[: paper.width - 3]}...")
        return 0
    if code is not None and code.upper() not in pages:
        if named := next((page for page in pages.values() if page.name == code.lower()), None):
            raise UsageError(f"`{code}` is a rule's name; its code is wanted", hint=f"bnlint rule {named.code}")
        require_known(Config(select=(code,)), {each: page.name for each, page in pages.items()})
        raise UsageError(f"`{code}` is a family of rules", hint="bnlint rule")
    for page in pages.values():
        if every or (code is not None and page.code == code.upper()):
            head = (
                f"# {page.code} {page.name}\n\n*{page.severity}* · seen by the {' and the '.join(page.engines)} check"
            )
            text = f"{head} · since {page.since}\n\n{page.text}"
            paper.print(Markdown(text)) if paper.is_terminal else click.echo(text)
    return 0


def _rows(pages: Sequence[Page]) -> Iterator[str]:
    """Yield a line for each rule, in columns."""
    code, name, severity = (max(len(getattr(page, each)) for page in pages) for each in ("code", "name", "severity"))
    for page in pages:
        yield f"{page.code:<{code}}  {page.name:<{name}}  {page.severity:<{severity}}  {page.sentence}"


def _test_pages(code: str | None, settings: Settings) -> int:
    """Check the blocks of the project's own rule pages, and say where they do not hold."""
    from bnlint.rehearsal import deviations

    words = settings.vocabulary(settings.here / "page.py")
    pages = [page for page in settings.pages().values() if page.stops and (code or page.code).upper() == page.code]
    if not pages:
        told = f"`{code}` is no rule of your own" if code else "no rules of your own"
        raise UsageError(told, hint="`rule-folders` in the configuration names the folders of their pages")
    wrong = [each for page in pages for each in deviations(page, words)]
    for each in wrong:
        click.echo(each)
    blocks = sum(len(page.blocks) for page in pages)
    counted = f"{len(pages)} page{'s' * (len(pages) != 1)} with {blocks} block{'s' * (blocks != 1)} of code"
    click.echo(f"{counted}: {len(wrong) or 'no'} deviation{'s' * (len(wrong) != 1)}", err=True)
    return int(bool(wrong))
