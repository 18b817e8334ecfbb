"""What each command does: sort the targets, run the engines, hand the findings to a report."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from bnlint import config as configuration
from bnlint.catalog import BY_CODE
from bnlint.config import Config
from bnlint.errors import BnlintError, UsageError
from bnlint.finding import Finding
from bnlint.pages import load_pages
from bnlint.shell import console, progress, relative, report, summarize, told_warnings, write
from bnlint.targets import Targets, sort_targets

NO_LAYERS = "no normalization layers but torch's own"


@dataclass(frozen=True, slots=True)
class _Settings:
    """The configuration of a run, the command line on top of the files."""

    config: Config

    def wanted(self, finding: Finding) -> bool:
        return configuration.selected(self.config, finding.code)


def check(
    targets: Sequence[str],
    *,
    output_format: str,
    exit_zero: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Check targets of any kind and print the findings; return the exit code."""
    settings, sorted_targets = _settings(options), sort_targets(targets)
    found: list[Finding] = []
    told: list[str] = []
    files = _sources(sorted_targets, settings)
    code = 0
    if sorted_targets.sources:
        from bnlint.source.files import check_files

        with progress(len(files), "checking", quiet) as advance:
            checked = check_files(files, lambda path: advance(str(path)))
        found += checked.findings
        for error in checked.unreadable:
            click.echo(f"error: {error}", err=True)
        code = 2 if checked.unreadable else code
        told.append(f"{len(files)} Python file{'s' * (len(files) != 1)}" if files else "no Python files")
    if sorted_targets.models:
        models, layers = _check_models(sorted_targets, options, quiet)
        found += models
        told.append(f"{layers} normalization layer{'s' * (layers != 1)} measured" if layers else NO_LAYERS)
    found = [relative(finding) for finding in found if settings.wanted(finding)]
    report(found, output_format)
    if not quiet:
        summarize(found, told)
    return code or (1 if found and not exit_zero else 0)


def fix(
    targets: Sequence[str],
    *,
    diff: bool,
    output: Path | None,
    in_place: bool,
    adopt_torch_conventions: bool,
    certificate: Path | None,
    quiet: bool,
    **options: Any,
) -> int:
    """Fix source files and repair checkpoints; return the exit code."""
    settings, sorted_targets = _settings(options), sort_targets(targets)
    if sorted_targets.factories:
        raise UsageError(
            "a factory is code, and has no file to write a model to",
            where=sorted_targets.factories[0],
            hint="fix its source, or call bnlint.repair(model, *inputs) on the model",
        )
    if diff and sorted_targets.checkpoints:
        raise UsageError("--diff shows changes of source", hint=f"bnlint check {sorted_targets.checkpoints[0]}")
    if len(sorted_targets.checkpoints) > 1:
        raise UsageError("repair one checkpoint at a time")
    code = 0
    if sorted_targets.sources:
        code = _fix_sources(_sources(sorted_targets, settings), settings, diff=diff, quiet=quiet)
    for path in sorted_targets.checkpoints:
        if output is None and not in_place:
            raise UsageError(
                "say where to write the repaired checkpoint",
                where=str(path),
                hint=f"bnlint fix {path} -o {path.with_name(path.stem + '-repaired' + path.suffix)}, or --in-place",
            )
        _fix_checkpoint(
            path, output or path, options, adopt=adopt_torch_conventions, certificate=certificate, quiet=quiet
        )
    return code


def rule(code: str | None, every: bool) -> int:
    """Print one rule page, every page, or the list of rules."""
    from rich.markdown import Markdown

    pages = load_pages()
    paper = console()
    if code is None and not every:
        for page in pages.values():
            click.echo(f"{page.code}  {page.name:<28} {page.severity:<8} {page.summary}")
        return 0
    if code is not None and code.upper() not in pages:
        configuration.require_known(Config(select=(code,)), pages)
        raise UsageError(f"`{code}` is a family of rules", hint="bnlint rule lists them")
    for page in pages.values():
        if every or (code is not None and page.code == code.upper()):
            head = (
                f"# {page.code} {page.name}\n\n*{page.severity}* · seen by the {' and the '.join(page.engines)} check"
            )
            text = f"{head} · since {page.since}\n\n{page.text}"
            paper.print(Markdown(text)) if paper.is_terminal else click.echo(text)
    return 0


def _settings(options: dict[str, Any]) -> _Settings:
    base = configuration.load(Path.cwd(), override=options["config"], isolated=options["isolated"])

    def listed(key: str) -> tuple[str, ...]:
        return tuple(part.strip() for value in options[key] for part in value.split(",") if part.strip())

    merged = replace(
        base,
        select=listed("select") or base.select,
        ignore=base.ignore + listed("ignore"),
        exclude=base.exclude + tuple(options["exclude"]),
    )
    configuration.require_known(merged, BY_CODE)
    return _Settings(merged)


def _sources(targets: Targets, settings: _Settings) -> list[Path]:
    if not targets.sources:
        return []
    from bnlint.source.discover import discover

    return discover(targets.sources, exclude=settings.config.exclude)


# -- models


def _check_models(targets: Targets, options: dict[str, Any], quiet: bool) -> tuple[list[Finding], int]:
    """Measure the models that were named; what they print goes to stderr."""
    with _torch(), contextlib.redirect_stdout(sys.stderr), told_warnings():
        from bnlint.checkpoint.formats import load
        from bnlint.checkpoint.repair import check_checkpoint
        from bnlint.model.check import check_layers, find_layers, findings_of, require_measured
        from bnlint.model.inputs import load_factory, parse_inputs, usable_device

        device = usable_device(options["device"])
        inputs = tuple(tensor.to(device) for tensor in parse_inputs(options["inputs"]))
        checked = []
        for target in targets.factories:
            layers = find_layers(load_factory(target).to(device), inputs)
            with progress(len(layers), "measuring", quiet) as advance:
                checked += list(check_layers(layers, advance))
            require_measured(checked)
        for path in targets.checkpoints:
            checkpoint = load(path, _trust(options), map_location=str(device))
            with progress(None, "measuring", quiet) as advance:
                checked += check_checkpoint(checkpoint, inputs, advance)
    for item in checked:
        if item.problem is not None:
            click.echo(f"not measured: {item.layer.path}: {item.problem}", err=True)
    return [f for item in checked for f in findings_of(item)], sum(1 for item in checked if item.measured)


def _trust(options: dict[str, Any]) -> Any:
    from bnlint.checkpoint.code import definitions
    from bnlint.checkpoint.trust import Trust

    if options["trust"]:
        click.echo("warning: --trust runs whatever program the checkpoint holds", err=True)
    code: dict[str, type] = {}
    for file in options["code"]:
        code |= definitions(file)
    return Trust(code, tuple(options["allow"]), options["trust"])


@contextlib.contextmanager
def _torch() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise BnlintError("models need torch, which is not installed", hint='pip install "bnlint[torch]"') from error


def _fix_checkpoint(
    path: Path, output: Path, options: dict[str, Any], *, adopt: bool, certificate: Path | None, quiet: bool
) -> None:
    with _torch(), contextlib.redirect_stdout(sys.stderr), told_warnings():
        from bnlint.checkpoint.repair import repair_checkpoint
        from bnlint.model.inputs import parse_inputs, usable_device

        inputs = parse_inputs(options["inputs"])
        with progress(None, "repairing", quiet) as advance:
            repaired = repair_checkpoint(
                path,
                output,
                _trust(options),
                inputs,
                adopt_torch_conventions=adopt,
                device=str(usable_device(options["device"])),
                progress=advance,
            )
    if certificate is not None:
        write(certificate, json.dumps([c.to_dict() for c in repaired.certificates], indent=2) + "\n")
    if not quiet:
        from bnlint.report.certificates import render

        render(repaired.certificates, console(), path=path, output=output, needs=repaired.needs)


def _fix_sources(files: Sequence[Path], settings: _Settings, *, diff: bool, quiet: bool) -> int:
    from bnlint.source.files import fix_files

    fixed = fix_files(files, settings.wanted, write=not diff)
    changed = [f for f in fixed if f.diff]
    left = [finding for f in fixed for finding in f.left]
    if diff:
        for file in changed:
            click.echo(file.diff, nl=False)
    elif left:
        report([relative(finding) for finding in left], "full")
    if not quiet:
        count = sum(len(f.findings) - len(f.left) for f in fixed)
        verb = "would fix" if diff else "fixed"
        said = f"{verb} {count} finding{'s' * (count != 1)} in {len(changed)} file{'s' * (len(changed) != 1)}"
        click.echo(f"{said}; {len(left)} left without an automatic fix" if left else said, err=True)
    return 1 if left or (diff and changed) else 0
