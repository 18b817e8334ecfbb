"""The SARIF 2.1.0 format, for code scanning: findings with their flow, their fix and the pages of their rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from bnlint.finding import Finding, Fix, Mark, ModuleLocation, Severity, SourceLocation
from bnlint.fingerprint import TextAt, fingerprints
from bnlint.pages import Page

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Object = dict[str, Any]


def render(
    findings: Sequence[Finding],
    pages: Mapping[str, Page],
    text_at: TextAt,
    version: str,
    in_file: Callable[[Finding], Finding] = lambda finding: finding,
) -> str:
    """Render findings as one SARIF log of one run.

    Args:
        findings: In the order given.
        pages: The rule pages by code: all of them are described, found or not.
        text_at: Gives the text of a location, for fingerprints that outlive moved lines.
        version: bnlint's own.
        in_file: Gives a finding in a notebook with its places, and its fix, in the file: SARIF knows no cells.
    """
    rules = list(pages)
    named = zip(findings, fingerprints(findings, text_at), strict=True)
    driver = {"name": "bnlint", "version": version, "rules": [_rule(page) for page in pages.values()]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": "the folder in which bnlint ran"}}},
        "results": [_result(in_file(finding), _cell(finding), name, rules) for finding, name in named],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, allow_nan=False)


def _rule(page: Page) -> Object:
    return {
        "id": page.code,
        "name": "".join(word.capitalize() for word in page.name.split("-")),
        "shortDescription": {"text": page.name.replace("-", " ")},
        "fullDescription": {"text": page.summary},
        "help": {"text": page.text, "markdown": page.text},
        "defaultConfiguration": {"level": page.severity.value},
        "properties": {"tags": list(page.engines), "problem.severity": _problem(page.severity)},
    }


def _problem(severity: Severity) -> str:
    return "recommendation" if severity is Severity.NOTE else severity.value


def _result(finding: Finding, cell: Sequence[Object], fingerprint: str, rules: Sequence[str]) -> Object:
    measured = finding.measurement
    result: Object = {
        "ruleId": finding.code,
        **({"ruleIndex": rules.index(finding.code)} if finding.code in rules else {}),
        "level": finding.severity.value,
        "message": {"text": finding.message},
        "locations": _locations(finding, cell),
        "partialFingerprints": {"bnlintFingerprint/v1": fingerprint},
    }
    if finding.marks:
        result["codeFlows"] = [_flow(finding.marks)]
    if finding.fix:
        result["fixes"] = [_fix(finding.fix)]
    if measured and abs(measured.error) < float("inf") and abs(measured.cosine) <= 1:
        result["properties"] = {"gradientError": measured.error, "gradientCosine": measured.cosine}
    return result


def _locations(finding: Finding, cell: Sequence[Object]) -> list[Object]:
    location: Object = {}
    if finding.location:
        location["physicalLocation"] = _physical(finding.location)
    logical = [*_layer(finding.module), *_symbol(finding.symbol), *cell]
    if logical:
        location["logicalLocations"] = logical
    return [location] if location else []


def _layer(module: ModuleLocation | None) -> Iterable[Object]:
    if module is not None:
        name = module.module or "(root)"
        yield {"name": name.rpartition(".")[2], "fullyQualifiedName": name, "kind": "object"}


def _symbol(symbol: str | None) -> Iterable[Object]:
    if symbol:
        yield {"name": symbol.rpartition(".")[2], "fullyQualifiedName": symbol, "kind": "function"}


def _cell(finding: Finding) -> list[Object]:
    at = finding.location
    if at is None or at.cell is None:
        return []
    return [{"name": f"cell {at.cell}", "fullyQualifiedName": f"cell {at.cell}, line {at.line}", "kind": "object"}]


def _flow(marks: Sequence[Mark]) -> Object:
    steps = [
        {
            "location": {"physicalLocation": _physical(mark.location), "message": {"text": mark.text}},
            "kinds": [mark.role],
        }
        for mark in marks
    ]
    return {"threadFlows": [{"locations": steps}]}


def _fix(fix: Fix) -> Object:
    changes: dict[str, list[Object]] = {}
    for edit in fix.edits:
        replacement = {"deletedRegion": _region(edit.location), "insertedContent": {"text": edit.replacement}}
        changes.setdefault(edit.location.path, []).append(replacement)
    listed = [{"artifactLocation": _artifact(path), "replacements": parts} for path, parts in changes.items()]
    return {"description": {"text": fix.message}, "artifactChanges": listed}


def _physical(location: SourceLocation) -> Object:
    return {"artifactLocation": _artifact(location.path), "region": _region(location)}


def _region(at: SourceLocation) -> Object:
    return {"startLine": at.line, "startColumn": at.column, "endLine": at.end_line, "endColumn": at.end_column}


def _artifact(path: str) -> Object:
    pure = PurePath(path)
    if pure.is_absolute():
        return {"uri": pure.as_uri()}
    return {"uri": quote(pure.as_posix(), errors="surrogateescape"), "uriBaseId": "%SRCROOT%"}
