"""Put the rule pages of `rules/` into the site: the folder is their only home, docs/ holds no copy.

Each page's front matter becomes a table under its title, and `rules/index.md` lists all of them.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bnlint.pages import Page, load_pages

_RULES = Path(__file__).parent.parent / "rules"
_INDEX = "rules/index.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the rule pages in the navigation, and rebuild a served site when one changes."""
    section = next(entry for entry in config.nav or [] if "Rules" in entry)
    section["Rules"] = [_INDEX, *({_title(page): _uri(page)} for page in load_pages(_RULES).values())]
    config.watch.append(str(_RULES))
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the rule pages and their index to the files of the site."""
    pages = load_pages(_RULES).values()
    files.append(File.generated(config, _INDEX, content=_index(list(pages))))
    for page in pages:
        files.append(File.generated(config, _uri(page), content=_with_table(page)))
    return files


def _title(page: Page) -> str:
    return f"{page.code} {page.name}"


def _uri(page: Page) -> str:
    return f"rules/{page.code}-{page.name}.md"


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _index(pages: list[Page]) -> str:
    rows = [f"| [{p.code}]({p.code}-{p.name}.md) | {p.name} | {p.severity} | {_cell(p.summary)} |" for p in pages]
    return "\n".join(["# Rules", "", "| code | name | severity | what it does |", "|---|---|---|---|", *rows, ""])


def _with_table(page: Page) -> str:
    title, body = f"# {_title(page)}", page.text
    if body.startswith("# "):
        title, _, body = body.partition("\n")
    table = (
        f"| severity | engines | since |\n|---|---|---|\n| {page.severity} | {', '.join(page.engines)} | {page.since} |"
    )
    return f"{title}\n\n{table}\n\n{body.lstrip()}"
