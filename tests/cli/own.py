"""A rule page of a project's own."""

from __future__ import annotations

from pathlib import Path

DOCS = (Path(__file__).parents[2] / "docs" / "vocabulary.md").read_text(encoding="utf-8")
#: the page that the documentation shows
PAGE = DOCS.split("~~~~markdown\n")[1].split("~~~~")[0]
NAME = "lint/rules/ACME101-no-freeze.md"
CONFIG = 'rule-folders = ["lint/rules"]\n'
BAD = "from acme.ops import freeze as still\n\n\ndef f(x):\n    return x - still(x.mean(0))\n"
FIXED = "from acme.ops import freeze as still\n\n\ndef f(x):\n    return x - x.mean(0)\n"
