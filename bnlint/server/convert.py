"""Findings as the protocol tells them: diagnostics, code actions and hovers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsprotocol import types

from bnlint.finding import Finding, Severity
from bnlint.pages import Page
from bnlint.server.documents import Desk, Document
from bnlint.server.lines import edits

FIX_ALL = "source.fixAll.bnlint"
SOURCE = "bnlint"
_SEVERITIES = {
    Severity.ERROR: types.DiagnosticSeverity.Error,
    Severity.WARNING: types.DiagnosticSeverity.Warning,
    Severity.NOTE: types.DiagnosticSeverity.Information,
}


def diagnostic(finding: Finding, pages: Mapping[str, Page], desk: Desk) -> types.Diagnostic:
    """Tell a finding that has a location; its marks are what else there is to look at."""
    assert finding.location is not None
    return types.Diagnostic(
        range=desk.location(finding.location).range,
        severity=_SEVERITIES[finding.severity],
        code=finding.code,
        code_description=types.CodeDescription(pages[finding.code].file.as_uri()),
        source=SOURCE,
        message=finding.message,
        related_information=[
            types.DiagnosticRelatedInformation(desk.location(mark.location), f"{mark.role}: {mark.text}")
            for mark in finding.marks
        ],
    )


def action(
    title: str,
    kind: str,
    document: Document,
    after: str,
    desk: Desk,
    *,
    about: types.Diagnostic | None = None,
    best: bool = False,
) -> types.CodeAction:
    """Offer a change of a document, `best` where it is the one to take for what it is about."""
    return types.CodeAction(
        title=title,
        kind=kind,
        diagnostics=None if about is None else [about],
        is_preferred=best or None,
        edit=_workspace_edit(document, after, desk.encoding),
    )


def _workspace_edit(document: Document, after: str, encoding: types.PositionEncodingKind) -> types.WorkspaceEdit:
    """Turn the text of a document, as it is at its version, into another."""
    name = types.OptionalVersionedTextDocumentIdentifier(document.uri, document.version)
    return types.WorkspaceEdit(
        document_changes=[types.TextDocumentEdit(name, [*edits(document.text, after, encoding)])]
    )


def fix_title(finding: Finding) -> str:
    """Name the fix of a finding, and say where it is not safe."""
    assert finding.fix is not None
    return f"bnlint: {finding.fix.message}{'' if finding.fix.safe else ' (unsafe fix)'}"


def hover(findings: Sequence[Finding], pages: Mapping[str, Page], desk: Desk) -> types.Hover | None:
    """Show the pages of the rules that report something, each once."""
    if not findings:
        return None
    told = dict.fromkeys(finding.code for finding in findings)
    text = "\n\n---\n\n".join(f"# {code} {pages[code].name}\n\n{pages[code].text}" for code in told)
    where = findings[0].location
    area = desk.location(where).range if where is not None else None
    return types.Hover(types.MarkupContent(types.MarkupKind.Markdown, text), area)


def touches(one: types.Range, other: types.Range) -> bool:
    """Whether two ranges share a character, or a place between two."""
    return max(_place(one.start), _place(other.start)) <= min(_place(one.end), _place(other.end))


def wanted(kind: str, only: Sequence[str] | None) -> bool:
    """Whether an editor that asks only for some kinds of actions, or for any, asks for this one."""
    return only is None or any(kind == each or kind.startswith(f"{each}.") for each in only)


def _place(position: types.Position) -> tuple[int, int]:
    return position.line, position.character
