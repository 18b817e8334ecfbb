"""The commands on models and checkpoints: measure them, repair them, say how far it is."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bnlint import __version__
from bnlint.errors import BnlintError, InputError, needing, one_line
from bnlint.finding import Finding
from bnlint.overview import LayerOverview, ModelOverview, Overview
from bnlint.report.state_dicts import Outcome
from bnlint.shell import Paper, progress, told_warnings, write
from bnlint.targets import Targets

if TYPE_CHECKING:
    from torch import nn

    from bnlint.checkpoint.code import Code
    from bnlint.checkpoint.repair import Repaired


@dataclass(frozen=True, slots=True)
class Measured:
    """What the models of a run gave: findings, in words what was measured, and every layer."""

    findings: list[Finding]
    told: str
    overview: Overview


def check(targets: Targets, options: Mapping[str, Any]) -> Measured:
    """Measure the models that were named; what they print goes to stderr."""
    quiet = options["quiet"]
    needed = needing("torch", "models need", "torch")
    with _hints("check", options), needed, contextlib.redirect_stdout(sys.stderr), told_warnings(quiet):
        import torch

        from bnlint.checkpoint.compiled import load_compiled
        from bnlint.checkpoint.formats import load
        from bnlint.checkpoint.models import check_models, opened
        from bnlint.model.check import check_layers, require_measured
        from bnlint.model.factories import load_factory
        from bnlint.model.inputs import parse_inputs, usable_device
        from bnlint.model.layers import find_layers
        from bnlint.model.overview import overview
        from bnlint.model.ranks import join, rank

        join()
        device = usable_device(options["device"])
        inputs = parse_inputs(options["input_specs"], options["inputs_from"]).to(device)
        found: list[ModelOverview] = []
        for target in targets.factories:
            model = load_factory(target, device)
            given = inputs.fitted(model)
            layers = find_layers(model, given.args, given.kwargs)
            with progress(len(layers), "measuring", quiet) as advance:
                of_target = list(check_layers(layers, advance))
            require_measured(of_target)
            found.append(overview(target, [("", model)], of_target))
        trust = _trust(options) if targets.checkpoints else None
        for path in targets.checkpoints:
            checkpoint = load_compiled(path, trust, str(device)) or load(path, trust, map_location=str(device))
            models = opened(checkpoint, _factory(options, device))
            with progress(None, "measuring", quiet) as advance:
                of_target = check_models(models, inputs, advance)
            found.append(overview(str(path), models.models, of_target))
        if rank():
            raise click.exceptions.Exit(0)  # the first process speaks for all
    seen = [layer for model in found for layer in model.layers]
    for layer in seen:
        if layer.problem:
            click.echo(f"not measured: {layer.place.module}: {layer.problem}", err=True)
    facts = (("input", _described(options)), ("device", str(device)), ("torch", str(torch.__version__)))
    findings = [finding for layer in seen for finding in layer.findings]
    return Measured(findings, _told(seen), Overview(tuple(found), facts))


def _told(layers: Sequence[LayerOverview]) -> str:
    measured = sum(layer.measurement is not None for layer in layers)
    native = sum(layer.measurement is None and not layer.problem for layer in layers)
    if measured:
        beside = f", {native} more {'are' if native != 1 else 'is'} torch's own" if native else ""
        return f"{measured} normalization layer{'s' * (measured != 1)} measured{beside}"
    if native == 1:
        return "1 normalization layer, which is torch's own"
    return f"{native} normalization layers, all of them torch's own" if native else "no normalization found"


def _described(options: Mapping[str, Any]) -> str:
    given = [f"--input {spec}" for spec in options["input_specs"]]
    return " ".join(given) or (f"--inputs {options['inputs_from']}" if options["inputs_from"] else "assumed")


def fix(path: Path, output: Path, options: Mapping[str, Any], *, adopt: bool, certificate: Path | None) -> None:
    """Repair a checkpoint, write it, and print what was proved."""
    quiet = options["quiet"]
    needed = needing("torch", "models need", "torch")
    where = "--in-place" if output == path else f"-o {shlex.quote(str(output))}"
    with _hints("fix", options, f" {where}"), needed, contextlib.redirect_stdout(sys.stderr), told_warnings(quiet):
        from bnlint.checkpoint.proof import digest, proof
        from bnlint.checkpoint.repair import repair_checkpoint
        from bnlint.model.inputs import parse_inputs, read_or_called, usable_device
        from bnlint.repairs.recalibrate import batches_in, recalibrate

        inputs = parse_inputs(options["input_specs"], options["inputs_from"])
        device = usable_device(options["device"])
        before = "" if certificate is None else digest(path)
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
                factory=_factory(options, device),
                adopt_torch_conventions=adopt,
                device=str(device),
                progress=advance,
                recalibrate=None if batches is None else averaged,
            )
    if certificate is not None:
        made = (output, digest(output)) if repaired.written else None
        document = proof(repaired.certificates, device, (path, before), made, __version__)
        write(certificate, json.dumps(document, indent=2) + "\n")
    for layer, problem in repaired.problems:
        click.echo(f"not measured: {layer}: {problem}", err=True)
    if not quiet:
        from bnlint.report.certificates import render
        from bnlint.report.state_dicts import render as render_state_dict

        paper = Paper(color=options["color"]).console()
        if repaired.states and repaired.certificates:
            render_state_dict(repaired.certificates, paper, _outcome(repaired, path, output, options["model"], adopt))
        else:
            render(
                repaired.certificates,
                paper,
                path=path,
                output=output,
                needs=repaired.needs,
                recalibrated=batches is not None,
                right=_right(repaired),
            )


@contextlib.contextmanager
def _hints(verb: str, options: Mapping[str, Any], tail: str = "") -> Iterator[None]:
    """Let hints that name the command to run name this one, with what was given to it."""
    try:
        yield
    except BnlintError as error:
        before, found, rest = (error.hint or "").partition("bnlint check ")
        if found:
            command, gap, remark = rest.partition("   ")
            error.hint = f"{before}bnlint {verb} {command}{_given(options, command)}{tail}{gap}{remark}"
        raise


def _given(options: Mapping[str, Any], command: str) -> str:
    """Return the options of this run that a command to try lacks."""
    named = [("--code", str(file)) for file in options["code"]] + [("--allow", name) for name in options["allow"]]
    if options["model"] is not None and "--model" not in command:
        named.append(("--model", options["model"]))
    return "".join(f" {option} {shlex.quote(value)}" for option, value in named)


def inspect(path: Path, output_format: str) -> int:
    """Print what is inside a checkpoint; nothing in it is run."""
    with needing("torch", "checkpoints need", "torch"):
        from bnlint.checkpoint.contents import contents

        found = contents(path)
    from bnlint.report.contents import render, render_json

    if output_format == "json":
        click.echo(render_json(found, str(path)))
    else:
        render(found, one_line(str(path)), Paper().console())
    return 0


def _right(repaired: Repaired) -> str:
    """Say what was found where there is nothing to repair, and no more than was measured."""
    if not repaired.measured:
        return "no normalization was found that torch did not write"
    return (
        "every layer's gradient is right"
        if not repaired.problems
        else "the gradient of what could be measured is right"
    )


def _outcome(repaired: Repaired, path: Path, output: Path, model: str, adopt: bool) -> Outcome:
    return Outcome(
        path,
        output,
        model,
        adopt,
        repaired.written,
        repaired.states,
        [(origin.name, origin.file, origin.line) for origin in repaired.origins],
        [(move.key, move.shape, move.new_key, move.new_shape) for move in repaired.moved],
    )


def _factory(options: Mapping[str, Any], device: Any) -> Any:
    from bnlint.checkpoint.code import named
    from bnlint.model.factories import built, load_factory

    target = options["model"]
    if target is None:
        return None
    if ":" in target:
        return lambda: load_factory(target, device)
    return lambda: built(named(target, [_code(file) for file in options["code"]]), f"--model {target}", device)


def _code(file: Path) -> Code:
    """Read a file of --code; of a notebook the cells that are Python."""
    from bnlint.checkpoint.code import Code

    if file.suffix != ".ipynb":
        return Code(file)
    from bnlint.source.magics import without_magics

    try:
        cells = json.loads(file.read_bytes())["cells"]
        texts = {n: "".join(cell["source"]) for n, cell in enumerate(cells, 1) if cell["cell_type"] == "code"}
    except OSError as error:
        raise InputError(f"cannot read the code: {error.strerror}", where=str(file)) from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError("not a notebook of Jupyter, format 4", where=str(file)) from error
    return Code(file, {n: python for n, text in texts.items() if (python := without_magics(text)) is not None})


def _trust(options: Mapping[str, Any]) -> Any:
    from bnlint.checkpoint.code import definitions
    from bnlint.checkpoint.trust import Trust

    if options["trust"]:
        click.echo("warning: --trust runs whatever program the checkpoint holds", err=True)
    code: dict[str, type] = {}
    for file in options["code"]:
        code |= definitions(_code(file))
    return Trust(code, tuple(options["allow"]), options["trust"])
