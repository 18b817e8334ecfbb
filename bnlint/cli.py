"""The command line: parse, one call, render, exit code (0 clean, 1 findings, 2 could not do the job)."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bnlint import __version__
from bnlint.errors import BnlintError, InputError, UsageError, told
from bnlint.finding import Severity
from bnlint.paths import is_here_gone
from bnlint.report import FORMATS
from bnlint.streams import forget_stdout, set_up

_SEVERITIES = [severity.value for severity in Severity]

#: what fingers that know ruff type, and what it is here
_OF_RUFF = {
    "--add-noqa": 'bnlint check --add-ignores "REASON"',
    "--diff": "bnlint fix --diff",
    "--fix-only": "bnlint fix",
    "--show-settings": "bnlint config",
}


def _options(*decorators: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def apply(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


def _switch(name: str, meaning: str) -> Callable[[Any], Any]:
    """Return an option that wins over the configuration's key of that name, whichever way it is."""
    return click.option(f"--{name}/--no-{name}", default=None, help=meaning)


_config_options = _options(
    click.option("--config", type=Path, metavar="FILE", help="Read this configuration."),
    click.option("--isolated", is_flag=True, help="Read no configuration file."),
)
_cache_option = click.option(
    "--cache-dir",
    type=Path,
    metavar="DIR",
    envvar="BNLINT_CACHE_DIR",
    show_envvar=True,
    help="Where the cache is (default: .bnlint_cache).",
)
_format_option = click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    envvar="BNLINT_OUTPUT_FORMAT",
    show_envvar=True,
    help="How findings are printed (default: full).",
)
_source_options = _options(
    click.option("--select", multiple=True, metavar="CODES", help="Only these rules: codes, prefixes (BN1) or ALL."),
    click.option("--extend-select", multiple=True, metavar="CODES", help="These rules too."),
    click.option("--ignore", multiple=True, metavar="CODES", help="Not these rules."),
    click.option("--exclude", multiple=True, metavar="GLOBS", help="Leave these paths out (as in .gitignore)."),
    click.option("--extend-exclude", multiple=True, metavar="GLOBS", help="Leave these paths out too."),
    _switch("force-exclude", "Leave excluded paths out even where they are named."),
    _switch("respect-gitignore", "Leave out what .gitignore files name, as is done without this option."),
    _config_options,
    click.option("--stdin-filename", metavar="NAME", help="What to call the source on stdin (target `-`)."),
    _switch("unsafe-fixes", "Let fixes change forward values."),
    click.option("--fail-on", type=click.Choice(_SEVERITIES), help="Least severity that exits 1 (default: warning)."),
    click.option("--baseline", type=Path, metavar="FILE", help="Do not report the findings in this file."),
    click.option(
        "--color",
        type=click.Choice(["auto", "always", "never"]),
        default="auto",
        show_default=True,
        help="Whether to print in color.",
    ),
)
_model_options = _options(
    click.option(
        "--input",
        "input_specs",
        multiple=True,
        metavar="SPEC",
        help="An input: a shape (8x3x32x32, 8x128:int64, mask=8x128:bool), or a file (batch.pt). Repeatable.",
    ),
    click.option(
        "--inputs", "inputs_from", metavar="MODULE:FUNCTION", help="Call this for the inputs: RUNS YOUR CODE."
    ),
    click.option(
        "--code",
        multiple=True,
        type=Path,
        metavar="FILE",
        help="Take classes that a checkpoint needs from this file: its imports and definitions are run, nothing else.",
    ),
    click.option(
        "--model",
        metavar="FACTORY",
        help="The model of a state dict: MODULE:FACTORY (RUNS YOUR CODE), or a class or function of --code.",
    ),
    click.option(
        "--allow", multiple=True, metavar="NAME", help="Allow this class, or package, in a checkpoint: it is imported."
    ),
    click.option("--trust", is_flag=True, help="Unpickle whatever the checkpoint holds: THIS CAN RUN ANY PROGRAM."),
    click.option(
        "--device", default="cpu", show_default=True, metavar="DEVICE", help="Where to measure: cpu, cuda, auto."
    ),
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="bnlint %(version)s")
def cli() -> None:
    """Find, prove and repair normalization layers whose batch statistics are cut out of autograd."""


@cli.command(short_help="Find: source files, notebooks, checkpoints, live models.")
@click.argument("targets", nargs=-1)
@_source_options
@_model_options
@_format_option
@click.option("-o", "--output-file", type=Path, metavar="FILE", help="Print findings into this file.")
@click.option(
    "--report", type=Path, metavar="FILE", help="Write a page about the models (HTML): every layer, every stop."
)
@click.option("--statistics", is_flag=True, help="Count the findings of each rule instead of printing them.")
@click.option("--show-files", is_flag=True, help="Print the source files that would be checked, and check none.")
@click.option("--fix", is_flag=True, help="Fix source before the report, as `bnlint fix` does.")
@click.option("--add-ignores", metavar="REASON", help="Write a comment that suppresses it behind each finding.")
@click.option("--write-baseline", is_flag=True, help="Make all findings known: write them to --baseline.")
@click.option("--watch", is_flag=True, help="Check again whenever a file changes, until Ctrl-C.")
@click.option("--no-cache", is_flag=True, help="Check every file, and keep nothing.")
@_cache_option
@click.option("--exit-zero", is_flag=True, help="Exit 0 although there are findings.")
@click.option("-q", "--quiet", is_flag=True, help="Print findings only.")
@click.option("-v", "--verbose", is_flag=True, help="Say which configuration and files were read.")
def check(**options: Any) -> int:
    """Report broken normalizations in source files, checkpoints and live models.

    TARGETS are files and folders of Python source (default: the current folder), checkpoints such as model.pt, or
    factories such as pkg.mod:make_model. Source is only read. A factory is imported and called: that RUNS YOUR CODE.
    """
    from bnlint.commands import check

    return check(**options)


@cli.command(short_help="Find and put right: source files and checkpoints.")
@click.argument("targets", nargs=-1)
@_source_options
@_model_options
@click.option("--diff", is_flag=True, help="Write nothing; print what would change (source only).")
@click.option("-o", "--output", type=Path, metavar="FILE", help="Where to write a checkpoint.")
@click.option("--in-place", is_flag=True, help="Overwrite the checkpoint.")
@click.option("--adopt-torch-conventions", is_flag=True, help="Become plain torch layers, although outputs change.")
@click.option(
    "--recalibrate",
    metavar="DATA",
    help="Recompute running statistics from batches: data.pt, or MODULE:LOADER, which RUNS YOUR CODE.",
)
@click.option("--certificate", type=Path, metavar="FILE", help="Write the proof as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print what is left only.")
def fix(**options: Any) -> int:
    """Remove the stops from source files, or repair the layers of a checkpoint.

    Source is changed in place where the forward values stay the same. A checkpoint is repaired layer by layer, each
    with a measured proof, and written to --output.
    """
    from bnlint.commands import fix

    return fix(**options)


@cli.command(short_help="List what is inside a checkpoint; run nothing of it.")
@click.argument("path", type=Path)
@click.option("--output-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def inspect(path: Path, output_format: str) -> int:
    """List what is inside the checkpoint PATH, and run nothing of it.

    Modules with their classes, tensors with dtype and shape, other values, and the globals that it would use.
    """
    from bnlint.runtime import inspect

    return inspect(path, output_format)


@cli.command(short_help="Print the settings that hold, and their source.")
@click.argument("path", type=Path, default=".")
@_config_options
@_format_option
@_cache_option
def config(path: Path, **options: Any) -> int:
    """Print the settings that hold for PATH (default: the current folder), and where they come from."""
    from bnlint.commands import config

    return config(path, **options)


@cli.command()
@click.argument("code", required=False)
@click.option("--all", "every", is_flag=True, help="Print every page.")
@click.option("--test", is_flag=True, help="Check the blocks of code on the pages of your own rules.")
@_config_options
def rule(code: str | None, every: bool, test: bool, **options: Any) -> int:
    """Print the page of a rule; without CODE, list the rules."""
    from bnlint.rulecommand import rule

    return rule(code, every, test, **options)


@cli.command()
@_cache_option
@_config_options
def clean(**options: Any) -> int:
    """Remove the cache."""
    from bnlint.commands import clean

    return clean(**options)


@cli.command(short_help="Speak with an editor, on stdin and stdout.")
@click.option("--stdio", is_flag=True, help="What it does anyway; some editors ask for it.")
def server(stdio: bool) -> int:
    """Speak the language server protocol with an editor, on stdin and stdout."""
    from bnlint.commands import server

    return server()


@cli.command()
def version() -> int:
    """Print the version."""
    click.echo(f"bnlint {__version__}")
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_up()
    try:
        code = cli.main(arguments or ["--help"], prog_name="bnlint", standalone_mode=False)
        if not sys.stdout.closed:  # by the server, when its session is over
            sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        command = " ".join(["bnlint", *(each for each in arguments[:1] if each in cli.commands)])
        known = _OF_RUFF.get(error.option_name) if isinstance(error, click.NoSuchOption) else None
        code = _fail(UsageError(error.format_message(), hint=known or f"{command} --help"))
    except BnlintError as error:
        code = _fail(error)
    except (KeyboardInterrupt, click.Abort):
        code = _stop()
    except BrokenPipeError:
        forget_stdout()
        code = 2
    except Exception as error:
        if os.environ.get("BNLINT_TRACEBACK"):
            raise
        code = _stop() if _is_interrupt(error) else _fail(_unexpected(error))
    sys.exit(code or 0)


def _stop() -> int:
    click.echo("interrupted", err=True)
    return 130


def _is_interrupt(error: BaseException | None) -> bool:
    """Whether an error is what became of a Ctrl-C: one that comes while a class is made is a RuntimeError, say."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(error: BnlintError) -> int:
    click.echo(told(error), err=True)
    return 2


def _unexpected(error: Exception) -> BnlintError:
    if isinstance(error, OSError) and error.filename is None and error.errno in (errno.ENOSPC, errno.EFBIG, errno.EIO):
        forget_stdout()
        return InputError(f"cannot be written: {error.strerror}", where="stdout")
    if isinstance(error, FileNotFoundError) and is_here_gone():
        return InputError("the working folder does not exist any more", hint="cd into one that does")
    what = f"bnlint failed on its own: {type(error).__name__}: {error}"
    return BnlintError(what, hint="set BNLINT_TRACEBACK=1 for the traceback, and report it")
