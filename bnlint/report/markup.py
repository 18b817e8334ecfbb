"""HTML that is escaped by construction: a text is escaped unless it is markup already."""

from __future__ import annotations

from html import escape

from bnlint.report.text import printable


class Markup(str):
    """Text that is markup."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: object) -> Markup:
    """Return an element around its content.

    Args:
        name: Its name; one without content is closed in itself in SVG, and must not be closed in HTML.
        *content: Texts, which are escaped, and markup.
        **attributes: Its attributes; `class_` is `class`, `_` is `-`, and one that is None is left out.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    opening = name + "".join(f' {key}="{text(str(value))}"' for key, value in given.items())
    return Markup(f"<{opening}>{joined(*content)}</{name}>")


def text(content: str) -> Markup:
    """Escape a text; characters that are invisible, or would turn the order of others, are replaced."""
    return content if isinstance(content, Markup) else Markup(escape(printable(content, "utf-8")))


def joined(*content: str) -> Markup:
    """Put texts and markup behind each other."""
    return Markup("".join(map(text, content)))
