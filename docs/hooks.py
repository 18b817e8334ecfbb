"""Put into the site what has its only home elsewhere: the rule pages of `rules/`, and the keys of the configuration.

Each page's front matter becomes a table under its title, `rules/index.md` lists all of them, and `configuration.md` is
made from the class that reads the configuration.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bnlint.config import KEYS, Config, as_toml, meaning
from bnlint.pages import Page, load_pages

_RULES = Path(__file__).parent.parent / "rules"
_INDEX = "rules/index.md"
_CONFIGURATION = "configuration.md"


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
    files.append(File.generated(config, _CONFIGURATION, content=configuration()))
    for page in pages:
        files.append(File.generated(config, _uri(page), content=_with_table(page)))
    return files


def configuration() -> str:
    """The reference of the configuration file, from the class that reads it."""
    rows = [f"## `{key}`\n\n{meaning(key)}\n\n```toml\n{as_toml(Config(), key)}\n```\n" for key in KEYS]
    return "\n".join(
        (
            "# Configuration\n",
            "The keys of `[tool.bnlint]` in `pyproject.toml`, or of `bnlint.toml`, each with its default.",
            "The file nearest to a source file, at or above it, holds for it as a whole, and the",
            "[command line](cli.md) wins over it. `--config FILE` names one file for all, whose paths are relative",
            "to the working folder; `--isolated` reads none. `bnlint config PATH` prints what holds for a path.\n",
            *rows,
        )
    )


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
