"""Put into the site what has its only home elsewhere: the rule pages of `rules/`, and the keys of the configuration.

Each page's front matter becomes a table under its title, `rules/index.md` lists all of them, and `configuration.md` is
made from the class that reads the configuration.
"""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from bnlint.config import KEYS, Config, meaning
from bnlint.configtext import as_toml
from bnlint.pages import Page, load_pages

_RULES = Path(__file__).parent.parent / "rules"
_INDEX = "rules/index.md"
_CONFIGURATION = "configuration.md"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the rule pages in the navigation, and rebuild a served site when one changes."""
    section = next(entry for entry in config.nav or [] if "Rules" in entry)
    section["Rules"] = [_INDEX, *({_title(page): _uri(page)} for page in load_pages(_RULES).values())]
    config.watch.append(str(_RULES))
    if not config.repo_url:
        config.edit_uri = None
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the rule pages and their index to the files of the site."""
    pages = load_pages(_RULES).values()
    files.append(File.generated(config, _INDEX, content=_index(list(pages))))
    files.append(File.generated(config, _CONFIGURATION, content=configuration()))
    for page in pages:
        file = File.generated(config, _uri(page), content=_with_table(page))
        file.edit_uri = f"../{_uri(page)}"  # its home, seen from docs/
        files.append(file)
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


_FAMILIES = {
    "BN0": "Files and suppressions",
    "BN1": "The gradient of a statistic",
    "BN2": "Running statistics",
    "BN3": "The formula",
    "BN4": "Conversion and use",
}


def _index(pages: list[Page]) -> str:
    """One table for each family of rules."""
    text = [
        "# Rules",
        "",
        "A rule can be selected by its code or by the beginning of it: `--select BN1`. An `error` or a `warning` makes",
        "the exit code 1, a `note` does not. *Source* rules read the text, *model* rules look at a live model or a",
        "checkpoint. A safe fix keeps the forward values and is what `bnlint fix` applies; the others need",
        "`--unsafe-fixes`.",
    ]
    for family, title in _FAMILIES.items():
        text += ["", f"## {title}", "", "| rule | severity | seen in | fix | what it does |", "|---|---|---|---|---|"]
        text += [_row(page) for page in pages if page.code.startswith(family)]
    return "\n".join([*text, ""])


def _row(page: Page) -> str:
    link = f"[{page.code}]({page.code}-{page.name}.md)<br>{page.name}"
    return f"| {link} | {page.severity} | {_seen(page)} | {fix_of(page)} | {_cell(page.sentence)} |"


def _seen(page: Page) -> str:
    return ", ".join({"static": "source", "runtime": "model"}[engine] for engine in page.engines)


def fix_of(page: Page) -> str:
    """Say whether there is a fix, by how the section "Fix safety" begins."""
    section = page.text.split("## Fix safety\n", 1)[1].lstrip()
    beginnings = {"Safe": "safe", "Unsafe": "unsafe", "There is no": "–"}
    for beginning, fix in beginnings.items():
        if section.startswith(beginning):
            return fix
    raise ValueError(f"{page.code}: 'Fix safety' must begin with one of {', '.join(beginnings)}")


def _with_table(page: Page) -> str:
    title, body = f"# {_title(page)}", page.text
    if body.startswith("# "):
        title, _, body = body.partition("\n")
    table = (
        "| severity | seen in | fix | since |\n|---|---|---|---|\n"
        f"| {page.severity} | {_seen(page)} | {fix_of(page)} | {page.since} |"
    )
    return f"{title}\n\n{table}\n\n{body.lstrip()}"
