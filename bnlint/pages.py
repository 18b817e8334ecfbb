"""The rule pages, rules/BNxxx-name.md: documentation that is also the test of its rule."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from bnlint.errors import BnlintError
from bnlint.finding import Severity

SECTIONS = (
    "What it does",
    "Why is this bad?",
    "Bad",
    "Good",
    "Fixed",
    "Fix safety",
    "When it is right",
    "References",
)
_FRONT_MATTER = re.compile(r"\+\+\+\n(?P<toml>.*?)^\+\+\+\n", re.DOTALL | re.MULTILINE)
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})\s*(?P<language>[^\s`]*)")
_HEADING = re.compile(r" {0,3}#{1,6}\s+(?P<title>.*?)\s*$")


@dataclass(frozen=True, slots=True)
class Block:
    """A Python block of a page: its section, its code, and the line of the file on which the code starts."""

    section: str
    code: str
    line: int


@dataclass(frozen=True, slots=True)
class Page:
    """One rule page; `summary` is the first paragraph of "What it does", `text` the Markdown below the front matter.

    `stops` are the names that a project's own rule claims: what they stop is reported by it.
    """

    code: str
    name: str
    severity: Severity
    engines: tuple[str, ...]
    since: str
    summary: str
    text: str
    blocks: tuple[Block, ...]
    file: Path = field(compare=False)
    stops: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """The first sentence of the summary; "e.g." ends none."""
        return re.split(r"(?<=\.)(?<!\W\w\.)\s", self.summary, maxsplit=1)[0].rstrip(":.") + "."


def load_pages(folder: Path | None = None) -> dict[str, Page]:
    """Read every rule page, by code and in the order of codes.

    Args:
        folder: Where the pages lie; by default those that come with bnlint.

    Raises:
        BnlintError: If there is no page, or if one is not of the form that all pages share.
    """
    folder = folder or _bundled()
    pages: dict[str, Page] = {}
    for file in sorted(folder.glob("BN*.md")):
        page = parse_page(file)
        if page.code in pages:
            raise BnlintError(f"{page.code} has a second page", where=str(file))
        pages[page.code] = page
    if not pages:
        raise BnlintError("no rule pages", where=str(folder), hint="install bnlint again")
    return pages


def parse_page(file: Path) -> Page:
    """Read one rule page.

    Raises:
        BnlintError: If its file name, its front matter, its headings or its fences are not as they should be.
    """
    source = file.read_text(encoding="utf-8")
    match = _FRONT_MATTER.match(source)
    if match is None:
        raise BnlintError("does not start with front matter between two +++ lines", where=str(file))
    code, name, severity, engines, since, stops = _facts(match["toml"], file)
    if file.name != f"{code}-{name}.md":
        raise BnlintError(f"is the page of {code}, so its name must be {code}-{name}.md", where=str(file))
    text = source[match.end() :]
    titles, blocks = _body(text.splitlines(), source[: match.end()].count("\n") + 1, file)
    _require_sections(titles, file)
    return Page(code, name, severity, engines, since, _summary(text, file), text.lstrip("\n"), blocks, file, stops)


def _bundled() -> Path:
    package = Path(__file__).parent
    return package / "rules" if (package / "rules").is_dir() else package.parent / "rules"


def _facts(toml: str, file: Path) -> tuple[str, str, Severity, tuple[str, ...], str, tuple[str, ...]]:
    try:
        import tomllib

        facts = tomllib.loads(toml)
        texts = [facts.pop(key) for key in ("code", "name", "severity", "since")]
        engines, stops = facts.pop("engines"), facts.pop("stops", [])
        lists = isinstance(engines, list) and isinstance(stops, list)
        if facts or not lists or not all(isinstance(each, str) for each in (*texts, *engines, *stops)):
            raise ValueError(
                "it has the strings code, name, severity and since, the list engines, "
                "for a rule of your own the list stops, and nothing else"
            )
        code, name, severity, since = texts
        return code, name, Severity(severity), tuple(engines), since, tuple(stops)
    except KeyError as error:
        raise BnlintError(f"front matter lacks {error}", where=str(file)) from error
    except ValueError as error:
        raise BnlintError(f"front matter: {error}", where=str(file)) from error


def _body(lines: list[str], first: int, file: Path) -> tuple[list[str], tuple[Block, ...]]:
    """Find the section headings and the Python blocks; `first` is the number of the first line in the file."""
    titles: list[str] = []
    blocks: list[Block] = []
    code: list[str] = []
    fence = language = ""
    for number, line in enumerate(lines, first):
        if fence:
            if line.strip().startswith(fence) and not line.strip(f" {fence[0]}"):
                if language == "python":
                    section = titles[-1] if titles else ""
                    blocks.append(Block(section, "".join(f"{each}\n" for each in code), number - len(code)))
                fence = ""
            else:
                code.append(line)
        elif opening := _FENCE.match(line):
            fence, language, code = opening["fence"], opening["language"], []
        elif (heading := _HEADING.match(line)) and heading["title"] in SECTIONS:
            titles.append(heading["title"])
    if fence:
        raise BnlintError("a code block is not closed", where=f"{file}:{first + len(lines) - len(code) - 1}")
    return titles, tuple(blocks)


def _require_sections(titles: list[str], file: Path) -> None:
    missing = [title for title in SECTIONS if title not in titles]
    if missing:
        raise BnlintError(f"the heading `{missing[0]}` is missing", where=str(file))
    if titles != list(SECTIONS):
        hint = f"the order is {', '.join(SECTIONS)}"
        raise BnlintError("headings are repeated or out of order", where=str(file), hint=hint)


def _summary(text: str, file: Path) -> str:
    match = re.search(rf"^#+\s+{SECTIONS[0]}\s*\n(?P<paragraph>(?:(?![ \t]*\n|#).+\n)+)", text, re.MULTILINE)
    if match is None:
        raise BnlintError(f"nothing stands under `{SECTIONS[0]}`", where=str(file))
    return " ".join(match["paragraph"].split())
