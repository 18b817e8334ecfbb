"""`check --report`: the page about the models of a run, with what mends each finding."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bnlint import __version__
from bnlint.finding import Finding, Severity
from bnlint.overview import LayerOverview, Overview
from bnlint.paths import is_file
from bnlint.reader import Reader
from bnlint.report.cards import Remedy
from bnlint.report.change import changes
from bnlint.report.page import render
from bnlint.settings import Settings
from bnlint.shell import relative, write
from bnlint.targets import Targets


def write_report(
    path: Path, overview: Overview, found: Sequence[Finding], reader: Reader, *, settings: Settings, targets: Targets
) -> None:
    """Write the page.

    Args:
        path: Where to.
        overview: What was measured.
        found: The findings of the run that count.
        reader: Reads the source that they are in.
        settings: Those that source is checked with: the static check knows the fixes.
        targets: What was checked.

    Raises:
        InputError: It cannot be written.
    """
    counting = frozenset(found)

    def shown(layer: LayerOverview) -> LayerOverview:
        kept = tuple(f for f in map(relative, layer.findings) if f in counting)
        return replace(layer, findings=kept, left_out=len(kept) < len(layer.findings))

    models = tuple(replace(m, layers=tuple(map(shown, m.layers))) for m in overview.models)
    fixable = _fixable([f for m in models for layer in m.layers for f in layer.findings], settings)
    repairs = [
        f"bnlint fix {shlex.quote(str(file))} -o {shlex.quote(str(file.with_stem(file.stem + '-repaired')))}"
        for file in targets.checkpoints
    ]

    def remedy(finding: Finding) -> Remedy:
        known = fixable.get(_place(finding))
        if known is None or known.fix is None:
            return Remedy(commands=repairs if finding.severity is Severity.ERROR else ())
        fixed = reader.fixed(known.fix)
        unsafe = "" if known.fix.safe else " --unsafe-fixes"
        command = f"bnlint fix {shlex.quote(known.location.path if known.location else '.')}{unsafe}"
        return Remedy(known.fix.message, changes(*fixed) if fixed else (), [command, *repairs])

    write(path, render(replace(overview, models=models), reader.text, remedy, __version__))


def _fixable(findings: Sequence[Finding], settings: Settings) -> Mapping[object, Finding]:
    """Return what the static check can mend, by its place; it reads the files of these findings."""
    from bnlint.source.files import check_files

    paths = dict.fromkeys(Path(finding.location.path) for finding in findings if finding.location is not None)
    files = [path for path in paths if path.suffix == ".py" and is_file(path)]
    checked = check_files(files, lambda _: None, None, settings.vocabulary) if files else None
    return {_place(finding): finding for finding in (checked.findings if checked else ()) if finding.fix is not None}


def _place(finding: Finding) -> object:
    at = finding.location
    return (at.path, at.line, finding.statistic) if at is not None else None
