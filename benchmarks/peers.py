"""Show what other tools say about the bugs that bnlint is for: each Bad block of the rule pages, checked by each tool.

    python benchmarks/peers.py --semgrep EXE --torchfix EXE --torch-preflight EXE > peers.md

Tools that read source are installed in environments of their own; one that is not given is left out. What a tool
reports on the lines that the page marks (`# BN101`) is counted, with its code; what it reports on other lines is beside
them. Tools that run a layer (`runtime_peers.py`) have no lines here: they are asked for each class of a block that is
made of 4 channels and takes one input, and the codes of what they object to are told; torchtest2, torch-audit and
Opacus where they are installed beside torch. The last row counts the Good blocks on which a tool says anything: false
alarms, for a tool that is about these bugs. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from runtime_peers import Asked, runtime_tools
from speed import BNLINT, RULE, package_version, version
from torch import nn

from bnlint.pages import load_pages

Found = Mapping[str, Mapping[int, set[str]]]  # the codes that a tool reports, by file and line
RULES = re.compile(r"# .*\b(BN\d{3})\b")
CONCISE = re.compile(r"^(?P<file>[^:\n]+\.py):(?P<line>\d+)(?::\d+:? (?P<code>[A-Z]+\d+))?", re.MULTILINE)
#: the line of what has no line
MEASURED = 0


@dataclass(frozen=True)
class Fixture:
    """One Bad block as a file, and the lines that it marks; none where only a measurement can find the bug."""

    rule: str
    file: Path
    lines: frozenset[int]


def fixtures(section: str, folder: Path) -> Iterator[Fixture]:
    for page in load_pages().values():
        for number, block in enumerate(block for block in page.blocks if block.section == section):
            if page.code.startswith("BN0"):  # about syntax errors and suppressions
                continue
            file = folder / f"{page.code}_{number}.py"
            file.write_text(block.code, encoding="utf-8")
            marked = frozenset(n for n, line in enumerate(block.code.splitlines(), 1) if RULES.search(line))
            yield Fixture(page.code, file, marked)


def output(*command: str) -> str:
    environment = os.environ | {"SEMGREP_SEND_METRICS": "off", "SEMGREP_ENABLE_VERSION_CHECK": "0"}
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment)
    if run.returncode not in (0, 1) or "Traceback (most recent call last)" in run.stderr:  # Python's own crash exits 1
        raise SystemExit(f"{' '.join(command)} exits {run.returncode}:\n{run.stderr[-2000:]}")
    return run.stdout


def concise(text: str) -> Found:
    """Read `file.py:line` at the beginning of lines."""
    found: dict[str, dict[int, set[str]]] = {}
    for match in CONCISE.finditer(text):
        codes = found.setdefault(Path(match["file"]).name, {}).setdefault(int(match["line"]), set())
        codes |= {match["code"]} if match["code"] else set()
    return found


def semgrep(executable: str, folder: Path) -> Found:
    text = output(executable, "scan", "--metrics=off", "--json", "--no-git-ignore", "--config", str(RULE), str(folder))
    return concise("\n".join(f"{item['path']}:{item['start']['line']}" for item in json.loads(text)["results"]))


def measure(asked: Asked, folder: Path) -> Found:
    files = sorted(folder.glob("*.py"))
    found = {file.name: set[str]().union(*(objections(asked, layer) for layer in layers(file))) for file in files}
    return {name: {MEASURED: codes} for name, codes in found.items() if codes}


def layers(file: Path) -> Iterator[nn.Module]:
    names: dict[str, object] = {"__name__": file.stem}
    try:
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), names)
    except Exception:  # a block that runs only in a project of its own has no layer here
        return
    for item in tuple(names.values()):  # a forward may write into them
        if isinstance(item, type) and issubclass(item, nn.Module) and item.__module__ == file.stem:
            try:
                yield item(4).double().train()
            except Exception:  # one that wants other arguments
                continue


def objections(asked: Asked, layer: nn.Module) -> set[str]:
    """Ask about a layer with the first shape of input that it takes; a crash of the second forward counts too."""
    torch.manual_seed(0)
    for shape in ((3, 4, 2, 2), (3, 4), (3, 2, 4)):
        x = torch.randn(shape, dtype=torch.float64)
        try:
            copy.deepcopy(layer)(x)
        except Exception:
            continue
        try:
            return asked(copy.deepcopy(layer), x)
        except Exception as error:
            return {type(error).__name__}
    return set()


def tools(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[Path], Found]]]:
    check = (*BNLINT, "check", "-q", "--isolated", "--no-cache", "--output-format", "concise", "--exit-zero")
    yield f"{version(*BNLINT, '--version')}, source", lambda folder: concise(output(*check, str(folder)))
    ruff = (
        options.ruff,
        "check",
        "--isolated",
        "--no-cache",
        "--select",
        "F,B,PL,RUF,NPY",
        "--output-format",
        "concise",
    )
    yield (
        f"{version(options.ruff, '--version')}, its rules about bugs",
        lambda folder: concise(output(*ruff, str(folder))),
    )
    if options.semgrep:
        yield f"semgrep {version(options.semgrep, '--version')}, own taint rule", lambda f: semgrep(options.semgrep, f)
    if options.torchfix:
        name = f"TorchFix {package_version(options.torchfix, 'torchfix')}, all rules"
        yield name, lambda folder: concise(output(options.torchfix, "--select=ALL", str(folder)))
    if options.torch_preflight:
        name = f"torch-preflight {package_version(options.torch_preflight, 'torch-preflight')}"
        yield name, lambda folder: concise(output(options.torch_preflight, "check", str(folder)))
    for name, asked in runtime_tools():
        yield name, partial(measure, asked)


def cell(fixture: Fixture, found: Found) -> str:
    """Say how many of the marked lines were found, by which codes; without lines or marks, whether a tool objects."""
    lines = found.get(fixture.file.name, {})
    if MEASURED in lines:
        return ", ".join(sorted(lines[MEASURED]))
    hits = sorted(lines.keys() & fixture.lines)
    codes = ", ".join(sorted(set().union(*(lines[line] for line in hits))))
    parts = [f"{len(hits)} of {len(fixture.lines)}" + (f" ({codes})" if codes else "")] if hits else []
    beside = len(lines) - len(hits)
    return ", ".join(parts + ([f"{beside} beside"] if beside else [])) or "–"


def table(bad: Sequence[Fixture], good: Sequence[Fixture], options: argparse.Namespace) -> Iterator[str]:
    names, on_bad, on_good = [], [], []
    for name, run in tools(options):
        print(f"peers.py: {name}", file=sys.stderr)
        names.append(name)
        on_bad.append(run(bad[0].file.parent))
        on_good.append(run(good[0].file.parent))
    yield f"| Bad block of | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for row in bad:
        title = row.file.stem.replace("_", ", ")
        yield f"| {title} | {' | '.join(cell(row, found) for found in on_bad)} |"
    yield f"| any, of {len(good)} Good blocks | {' | '.join(str(len(found)) for found in on_good)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for tool in ("semgrep", "torchfix", "torch-preflight"):
        parser.add_argument(f"--{tool}", metavar="EXE")
    parser.add_argument("--ruff", default=shutil.which("ruff") or "ruff", metavar="EXE")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # what torch warns about here is what the rules are about
    print(f"{datetime.date.today()}, {platform.machine()}, Python {platform.python_version()}.\n")
    with tempfile.TemporaryDirectory() as name:
        blocks = []
        for section in ("Bad", "Good"):
            folder = Path(name, section)
            folder.mkdir()
            blocks.append(list(fixtures(section, folder)))
        for line in table(*blocks, options):
            print(line)


if __name__ == "__main__":
    main()
