"""A file as libcst parses it: what edits are made from, and where everything stands."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider

from bnlint.finding import SourceLocation
from bnlint.source import from_libcst, syntax
from bnlint.source.lower import SyntaxTree
from bnlint.source.recent import recent

#: characters of other files whose trees are kept; with all places a tree takes much room
MAX_TEXT = 100_000


@dataclass(frozen=True, slots=True)
class Parsed:
    """A module's syntax tree, what locations call its file, and where each of its nodes stands."""

    path: str
    module: cst.Module
    locate: Callable[[cst.CSTNode], SourceLocation]

    @property
    def tree(self) -> SyntaxTree:
        """The syntax that the flow is read from."""

        def locate(node: syntax.Node) -> SourceLocation:
            return self.locate(node.place)  # type: ignore[arg-type]

        return SyntaxTree(self.path, from_libcst.module(self.module), locate)


def parse(source: str, path: str) -> Parsed:
    """Parse a module.

    Args:
        source: The text of the file.
        path: What locations call the file.

    Raises:
        libcst.ParserSyntaxError: The text is no Python.
    """
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)

    @functools.cache
    def positions() -> Mapping[cst.CSTNode, CodeRange]:
        return wrapper.resolve(PositionProvider)

    def locate(node: cst.CSTNode) -> SourceLocation:
        where = positions()[node]
        return SourceLocation(path, where.start.line, where.start.column + 1, where.end.line, where.end.column + 1)

    return Parsed(path, wrapper.module, locate)


@recent(MAX_TEXT)
def placed(text: str, path: str) -> SyntaxTree | None:
    """Read what several files need of another once, with the places of its nodes."""
    try:
        return parse(text, path).tree
    except (cst.ParserSyntaxError, RecursionError):
        return None
