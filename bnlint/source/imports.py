"""What the import statements of a file bind, read from its text."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

_FROM = re.compile(r"from[ \t]+([.\w]+)[ \t]*$")
_NAMES = re.compile(r"[ \t]*(\([^)]*\)|(?:[^\n;\\#]|\\\r?\n)+)")
#: what may stand before an import on its line
_BEFORE = re.compile(r"(?:.*[:;])?[ \t]*$")
_ALIAS = re.compile(r"([\w.]+)(?:\s+as\s+(\w+))?$")


@dataclass(frozen=True, slots=True)
class Imports:
    """What imports bind.

    Attributes:
        paths: Name → the dotted paths that it is bound to (`.stats.center`; of `import a.b`, both `a` and `a.b`).
        originals: Name → what it is called where it is imported from.
        stars: The dotted paths of `from … import *`.
    """

    paths: dict[str, list[str]]
    originals: dict[str, str]
    stars: list[str]


def imports_of(text: str) -> Imports:
    """Read the import statements of a text without docstrings and comments, those in functions included."""
    found = Imports(defaultdict(list), {}, [])
    for match in re.finditer(r"import\b", text):
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()]
        names, source = _NAMES.match(text, match.end()), _FROM.search(before)
        if names is None or not _BEFORE.match(before[: source.start()] if source else before):
            continue
        for name, asname in _aliases(names[1]):
            if source is None:
                head = name.partition(".")[0]
                found.paths[asname or head] += [name] if asname else [head, name]
            elif name == "*":
                found.stars.append(source[1])
            else:
                found.originals[asname or name] = name
                path = f"{source[1]}{'' if source[1].endswith('.') else '.'}{name}"
                found.paths[asname or name].append(path)
    return found


def _aliases(names: str) -> list[tuple[str, str]]:
    """Split the names of an import statement: what is imported, and what it is called here ("" if the same)."""
    text = names.replace("\\", " ").strip().strip("()").strip()
    if text == "*":
        return [("*", "")]
    matches = (_ALIAS.match(part.strip()) for part in text.split(","))
    return [(match[1], match[2] or "") for match in matches if match is not None]
