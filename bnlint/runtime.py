"""The commands on models and checkpoints: measure them, repair them, say how far it is."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Mapping, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnlint.errors import needing
from bnlint.finding import Finding
from bnlint.shell import Paper, progress, told_warnings, write
from bnlint.targets import Targets

if TYPE_CHECKING:
    from torch import nn


def check(targets: Targets, options: Mapping[str, Any]) -> tuple[list[Finding], str]:
    """Measure the models that were named; what they print goes to stderr.

    Returns:
        The findings, and in words what was measured.
    """
    quiet = options["quiet"]
    with needing("torch", "models need", "torch"), contextlib.redirect_stdout(sys.stderr), told_warnings(quiet):
        from bnlint.checkpoint.compiled import load_compiled
        from bnlint.checkpoint.formats import load, modules
        from bnlint.checkpoint.repair import check_checkpoint
        from bnlint.model.check import check_layers, require_measured
        from bnlint.model.factories import load_factory
        from bnlint.model.inputs import parse_inputs, usable_device
        from bnlint.model.layers import find_layers, natives
        from bnlint.model.ranks import join, rank
        from bnlint.model.verdict import findings_of

        join()
        device = usable_device(options["device"])
        inputs = parse_inputs(options["input_specs"], options["inputs_from"]).to(device)
        checked, native = [], 0
        for target in targets.factories:
            model = load_factory(target, device)
            given = inputs.fitted(model)
            native += natives(model)
            layers = find_layers(model, given.args, given.kwargs)
            with progress(len(layers), "measuring", quiet) as advance:
                checked += list(check_layers(layers, advance))
            require_measured(checked)
        for path in targets.checkpoints:
            trust = _trust(options)
            checkpoint = load_compiled(path, trust, str(device)) or load(path, trust, map_location=str(device))
            native += sum(natives(model) for _, model in modules(checkpoint.content))
            with progress(None, "measuring", quiet) as advance:
                checked += check_checkpoint(checkpoint, inputs, advance)
        if rank():
            raise click.exceptions.Exit(0)  # the first process speaks for all
    for item in checked:
        if item.problem is not None:
            click.echo(f"not measured: {item.layer.path}: {item.problem}", err=True)
    measured = sum(1 for item in checked if item.measured)
    if measured:
        told = f"{measured} normalization layer{'s' * (measured != 1)} measured"
    else:
        told = f"{native} normalization layers, all of them torch's own" if native else "no normalization found"
    return [f for item in checked for f in findings_of(item)], told


def fix(path: Path, output: Path, options: Mapping[str, Any], *, adopt: bool, certificate: Path | None) -> None:
    """Repair a checkpoint, write it, and print what was proved."""
    quiet = options["quiet"]
    with needing("torch", "models need", "torch"), contextlib.redirect_stdout(sys.stderr), told_warnings(quiet):
        from bnlint.checkpoint.repair import repair_checkpoint
        from bnlint.model.inputs import parse_inputs, read_or_called, usable_device
        from bnlint.repairs.recalibrate import batches_in, recalibrate

        inputs = parse_inputs(options["input_specs"], options["inputs_from"])
        given = options["recalibrate"]
        batches = None if given is None else batches_in(read_or_called(given, "--recalibrate"))

        def averaged(model: nn.Module) -> None:
            total = len(batches) if isinstance(batches, Sized) else None
            with progress(total, "recalibrating", quiet) as advance:
                recalibrate(model, batches or (), advance)

        with progress(None, "repairing", quiet) as advance:
            repaired = repair_checkpoint(
                path,
                output,
                _trust(options),
                inputs,
                adopt_torch_conventions=adopt,
                device=str(usable_device(options["device"])),
                progress=advance,
                recalibrate=None if batches is None else averaged,
            )
    if certificate is not None:
        write(certificate, json.dumps([c.to_dict() for c in repaired.certificates], indent=2) + "\n")
    if not quiet:
        from bnlint.report.certificates import render

        paper = Paper(color=options["color"]).console()
        told = batches is not None
        render(repaired.certificates, paper, path=path, output=output, needs=repaired.needs, recalibrated=told)


def _trust(options: Mapping[str, Any]) -> Any:
    from bnlint.checkpoint.code import definitions
    from bnlint.checkpoint.trust import Trust

    if options["trust"]:
        click.echo("warning: --trust runs whatever program the checkpoint holds", err=True)
    code: dict[str, type] = {}
    for file in options["code"]:
        code |= definitions(file)
    return Trust(code, tuple(options["allow"]), options["trust"])
