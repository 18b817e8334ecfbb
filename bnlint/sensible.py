"""Refuse what no run can do before it begins: nothing is read, fixed or written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bnlint import atomic
from bnlint.errors import UsageError
from bnlint.paths import exists
from bnlint.report import statistics
from bnlint.settings import Settings
from bnlint.targets import Targets


def require_checkable(targets: Targets, settings: Settings) -> None:
    """Refuse options of `check` that do not fit each other, the targets or the disk."""
    options, base = settings.options, settings.base
    reason = options["add_ignores"]
    _require_models(targets, options)
    _ = settings.cache, settings.base  # a wrong one is told before anything is fixed
    if options["output_file"] is not None:
        atomic.require_place(options["output_file"])
    if options["report"] is not None:
        if not targets.models:
            raise UsageError(
                "--report is about models, and there is only source", hint="bnlint check model.pt --report page.html"
            )
        atomic.require_place(options["report"])
    if options["statistics"] and base.output_format not in statistics.FORMATS:
        raise UsageError(
            f"--statistics has no {base.output_format} format", hint=f"there are {', '.join(statistics.FORMATS)}"
        )
    if options["write_baseline"] and settings.baseline is None:
        raise UsageError(
            "say where the baseline is", hint="bnlint check --baseline bnlint-baseline.json --write-baseline"
        )
    if reason is not None and (not reason.strip() or len(reason.splitlines()) > 1):
        raise UsageError(
            "--add-ignores wants a reason, in one line", hint='bnlint check --add-ignores "frozen on purpose"'
        )
    if not (options["fix"] or reason is not None):
        return
    if options["fix"] and reason is not None:
        raise UsageError("--fix and --add-ignores change the same lines", hint="run bnlint fix first")
    if targets.models:
        raise UsageError("--fix and --add-ignores change source", hint="repair a checkpoint with bnlint fix model.pt")
    if targets.stdin:
        raise UsageError("what comes on stdin has no file to change", hint="bnlint fix - prints the result")


def require_fixable(
    targets: Targets,
    *,
    diff: bool,
    output: Path | None,
    in_place: bool,
    certificate: Path | None,
    options: Mapping[str, Any],
) -> None:
    """Refuse options of `fix` that do not fit each other, the targets or the disk."""
    _require_models(targets, options)
    if targets.factories:
        raise UsageError(
            "a factory is code, and has no file to write a model to",
            where=targets.factories[0],
            hint="fix its source, or call bnlint.repair(model, *inputs) on the model",
        )
    if diff and targets.checkpoints:
        raise UsageError("--diff shows changes of source", hint=f"bnlint check {targets.checkpoints[0]}")
    if len(targets.checkpoints) > 1:
        raise UsageError("repair one checkpoint at a time")
    if options["recalibrate"] and not targets.checkpoints:
        raise UsageError("--recalibrate is for a checkpoint, and there is only source", hint="name a checkpoint")
    for option, file in (("-o", output), ("--certificate", certificate)):
        if file is not None and not targets.checkpoints:
            raise UsageError(f"{option} is for a checkpoint; source is fixed in place", hint="bnlint fix --diff")
        if file is not None:
            atomic.require_place(file)
    if output is not None and in_place:
        raise UsageError("-o writes another file, and --in-place the one that is read", hint="take one of them")
    if output is not None and certificate is not None and _one(output, certificate):
        raise UsageError("-o and --certificate write two things into one file", where=str(certificate))
    for path in targets.checkpoints:
        if output is None and not in_place:
            raise UsageError(
                "say where to write the repaired checkpoint",
                where=str(path),
                hint=f"bnlint fix {path} -o {path.with_name(path.stem + '-repaired' + path.suffix)}, or --in-place",
            )
        if output is not None and _same(output, path):
            raise UsageError("-o is the file that is read", where=str(output), hint=f"bnlint fix {path} --in-place")
    read = [*targets.checkpoints, *targets.sources, *options["code"]]
    for option, file in (("-o", output), ("--certificate", certificate)):
        if file is not None and any(_same(file, other) for other in read):
            raise UsageError(f"{option} would be written over a file that is read", where=str(file))


def require_other_output(files: Sequence[Path], output: Path | None, report: Path | None) -> None:
    """Refuse to write over a file that is checked, an argument was forgotten; and to write two things into one file."""
    for option, written in (("-o", output), ("--report", report)):
        if written is not None and any(_same(written, file) for file in files):
            raise UsageError(f"{option} would be written over this file to check", where=str(written))
    if output is not None and report is not None and _one(output, report):
        raise UsageError("-o and --report write two things into one file", where=str(report))


def _one(output: Path, other: Path) -> bool:
    return output.resolve() == other.resolve() or _same(output, other)


def _same(one: Path, other: Path) -> bool:
    return exists(one) and exists(other) and one.samefile(other)


def _require_models(targets: Targets, options: Mapping[str, Any]) -> None:
    given = {
        "--input": options["input_specs"],
        "--inputs": options["inputs_from"],
        "--code": options["code"],
        "--allow": options["allow"],
        "--model": options["model"],
    }
    named = next((name for name, value in {**given, "--trust": options["trust"]}.items() if value), None)
    if named is not None and not targets.models:
        raise UsageError(f"{named} is for models, and there is only source", hint="name a checkpoint or a factory")
    if options["model"] and not targets.checkpoints:
        raise UsageError(
            "--model is for a state dict, and none is named", hint=f"bnlint check state.pt --model {options['model']}"
        )
