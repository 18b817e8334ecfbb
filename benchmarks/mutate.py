"""Insert stops into the normalization layers of installed packages, and see what is found, fixed and repaired.

    python benchmarks/mutate.py --out mutants.jsonl              # timm, torchvision, transformers
    python benchmarks/mutate.py --out mutants.jsonl --packages timm diffusers --per-statistic 12
    python benchmarks/mutate.py --out mutants.jsonl --table      # the tables of docs/numbers.md, and the misses

Each mutant is the file of a layer with one change: a statistic that runs in training gets a stop, or what only looks
like one, and a way to where it is used (those of `tests/source/mutants.py`). What is true is measured, by nothing of
bnlint's: original and mutant get the same weights and input in float64; where outputs are equal and gradients are not,
the mutant is broken, and where both are equal, it is harmless. Then the mutant is checked as text and as a live layer
behind a parameter, its text is fixed, and the layer is repaired; what that gives must have the gradients of the
original. Every mutant is a line of the output; those that are there already are not made again.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from mutate_table import tables
from real_mutants import Dealer, RealMutant, sites
from real_norms import Subject, output, subjects
from torch import Tensor, nn

import bnlint
from bnlint.source.check import check_source, fix_source

CODES = frozenset({"BN101", "BN102", "BN103", "BN104", "BN105", "BN106"})
#: relative differences: equal up to rounding of layers that compute in float32 inside, and different
EQUAL, DIFFERENT = 1e-4, 1e-3
SECONDS = 60  # that one mutant may take


class Behind(nn.Module):
    """A layer behind a parameter, as in any model: its statistics are those of activations."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones((), dtype=torch.float64))
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x * self.gain)


def loaded(subject: Subject, text: str, folder: Path, number: int) -> type[nn.Module]:
    """Import a changed copy of a file in the place of the original, and return its class."""
    name = f"{subject.module}_{number}"
    file = folder / f"{subject.name.lower()}_{number}.py"
    file.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found: type[nn.Module] = getattr(module, subject.name)
    return found


@dataclass(frozen=True)
class Behavior:
    """What a model does: its outputs in training and in eval mode, and the gradients of its input and its layer."""

    output: Tensor
    eval_output: Tensor | None
    gradients: Mapping[str, Tensor]

    def outputs_differ(self, other: Behavior, *, eval_too: bool = True) -> bool:
        pairs = [(self.output, other.output)]
        if eval_too and self.eval_output is not None and other.eval_output is not None:
            pairs.append((self.eval_output, other.eval_output))
        return any(float((mine - theirs).norm() / theirs.norm()) > EQUAL for mine, theirs in pairs)

    def error(self, true: Behavior) -> float:
        """Return the largest difference of a gradient to the true one, relative to it, or to a hundredth of all."""
        least = max(float(gradient.norm()) for gradient in true.gradients.values()) / 100
        differences = (
            float((self.gradients[name] - gradient).norm()) / max(float(gradient.norm()), least)
            for name, gradient in true.gradients.items()
        )
        return max(differences)


def behavior(subject: Subject, model: Behind) -> Behavior:
    """Run a training step and an evaluation of a model."""
    model.train()
    x = subject.input().requires_grad_()
    y = output(model(x))
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(y.dtype)
    leaves = {"input": x} | dict(model.layer.named_parameters())
    found = torch.autograd.grad(y, list(leaves.values()), cotangent, allow_unused=True, materialize_grads=True)
    evaluated = None
    with contextlib.suppress(Exception), torch.no_grad():
        evaluated = output(model.eval()(subject.input()))
    model.train()
    return Behavior(y.detach(), evaluated, dict(zip(leaves, found, strict=True)))


def run_lines(subject: Subject, cls: type[nn.Module]) -> set[int]:
    """Return the lines of a layer's file that a training step runs."""
    layer, seen = subject.build(cls), set[int]()
    file = sys.modules[cls.__module__].__file__

    def trace(frame: FrameType, event: str, _: Any) -> Callable[..., Any] | None:
        if frame.f_code.co_filename != file:
            return None
        seen.add(frame.f_lineno)
        return trace

    sys.settrace(trace)
    try:
        layer(subject.input())
    finally:
        sys.settrace(None)
    return seen


def loud(findings: list[bnlint.Finding]) -> list[bnlint.Finding]:
    return [f for f in findings if f.code.startswith("BN1") and f.severity is not bnlint.Severity.NOTE]


def reported(text: str) -> list[bnlint.Finding]:
    return [finding for finding in check_source(text.encode(), "mutant.py") if finding.code in CODES]


def examined(subject: Subject, mutant: RealMutant, original: Original, folder: Path, number: int) -> dict[str, Any]:
    """Measure one mutant, and everything that bnlint makes of it."""
    try:
        cls = loaded(subject, mutant.source, folder, number)
        own = behavior(subject, Behind(subject.build(cls)))
    except Exception as error:
        return {"truth": "fails", "why": f"{type(error).__name__}: {error}"[:200]}
    if own.outputs_differ(original.behavior, eval_too=False):
        return {"truth": "other outputs"}
    error = own.error(original.behavior)
    record: dict[str, Any] = {"truth": "broken" if error > DIFFERENT else "harmless" if error < EQUAL else "unclear"}
    record |= {"error": error, "marked": sorted(mutant.marked)}
    static, x = reported(mutant.source), subject.input()
    new = len(loud(static)) > original.findings
    noted = any(finding.location and finding.location.line in mutant.marked for finding in static)
    record["static"] = "found" if new else "noted" if noted else "silent"
    record["static lines"] = sorted({finding.location.line for finding in loud(static) if finding.location})
    try:
        findings = bnlint.check_model(Behind(subject.build(cls)), x)
        record["runtime"] = "found" if loud(findings) else "noted" if findings else "silent"
        record["runtime codes"] = sorted({finding.code for finding in findings})
    except bnlint.BnlintError as error:
        record["runtime"] = f"not measured: {error}"[:200]

    def right(model: Behind) -> str:
        after = behavior(subject, model)
        if after.outputs_differ(own):
            return "changes outputs"
        return "right" if after.error(original.behavior) < DIFFERENT else "wrong gradient"

    fixed = fix_source(mutant.source.encode(), "mutant.py", lambda finding: finding.code in CODES).decode()
    record["fix"] = "none"
    if fixed != mutant.source:
        try:
            record["fix"] = right(Behind(subject.build(loaded(subject, fixed, folder, -number))))
        except Exception as error:
            record["fix"] = f"fails: {type(error).__name__}: {error}"[:200]
    model = Behind(subject.build(cls))
    try:
        certificates = bnlint.repair(model, x)
    except bnlint.BnlintError as error:
        return record | {"repair": "refused", "reasons": [str(error)], "rungs": []}
    record["rungs"] = [certificate.rung for certificate in certificates]
    record["reasons"] = [certificate.reason for certificate in certificates if not certificate.accepted]
    accepted = any(certificate.accepted for certificate in certificates)
    record["repair"] = right(model) if accepted else "refused" if certificates else "none"
    return record


@dataclass(frozen=True)
class Original:
    """A layer as it is: what it does, and how much the static check reports in its file."""

    behavior: Behavior
    findings: int


def mutants(
    subject: Subject, folder: Path, dealer: Dealer, per_statistic: int, seen: set[tuple[str, str]]
) -> Iterator[tuple[RealMutant, Callable[[], Any]]]:
    """Yield mutants of what no layer before has run, each with the work that examines it."""
    source = subject.file.read_text(encoding="utf-8")
    try:
        cls = loaded(subject, source, folder, 0)
        ran = run_lines(subject, cls)
        done = behavior(subject, Behind(subject.build(cls)))
        original = Original(done, len(loud(reported(source))))
    except Exception as error:
        print(f"left out: {subject.label}: {type(error).__name__}: {str(error)[:80]}", file=sys.stderr)
        return
    for site in sites(source):
        if ran.isdisjoint(site.lines) or (subject.module, site.label) in seen:
            continue
        seen.add((subject.module, site.label))
        for number, mutant in enumerate(dealer.mutants(source, site, per_statistic), 1):
            yield mutant, partial(examined, subject, mutant, original, folder, number)


def limited(work: Callable[[], Any]) -> Any:
    """Do some work within its time, whatever the grad mode was left in."""

    def stop(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        with torch.enable_grad():
            return work()
    except Exception as error:
        return {"truth": "crash", "why": f"{type(error).__name__}: {error}"[:300]}
    finally:
        signal.alarm(0)
        torch.set_grad_enabled(True)


def measure(options: argparse.Namespace) -> None:
    there = {json.loads(line)["name"] for line in lines_of(options.out)}
    dealer, seen, started = Dealer(), set[tuple[str, str]](), time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        for subject in subjects(options.packages):
            for mutant, work in mutants(subject, Path(name), dealer, options.per_statistic, seen):
                label = f"{subject.label}:{mutant.site.label} · {mutant.stop} · {mutant.way}"
                if label in there:
                    continue
                before = time.perf_counter()
                record = {"name": label, "layer": subject.label, "stop": mutant.stop, "way": mutant.way} | limited(work)
                record["seconds"] = round(time.perf_counter() - before, 2)
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
            print(f"{time.perf_counter() - started:6.0f} s  {subject.label}", file=sys.stderr, flush=True)


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines; what is there is kept")
    parser.add_argument("--packages", nargs="+", default=["timm", "torchvision", "transformers"], metavar="NAME")
    parser.add_argument("--per-statistic", type=int, default=8, metavar="N", help="mutants of each (default 8)")
    parser.add_argument("--table", action="store_true", help="print the tables of what is there, and measure nothing")
    options = parser.parse_args()
    if not options.table:
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        measure(options)
    for line in tables([json.loads(line) for line in lines_of(options.out)]):
        print(line)


if __name__ == "__main__":
    main()
