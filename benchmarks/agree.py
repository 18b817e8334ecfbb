"""Ask the static and the runtime check about the same code, and count where they say the same.

    python benchmarks/agree.py              # minutes; one stop for each kind of norm and way to travel
    python benchmarks/agree.py --stops 10

The code is each block under Bad and Good of the rule pages, each kind of stop of `tests/model/stops.py`, the shapes of
real code of `tests/source/shapes.py` and the generated layers of `tests/source/mutants.py`. Each case is a file, which
the static check reads in one run over all of them, and of which the layers (or functions) are run by
`bnlint.check_model`. A verdict is `wrong` where a finding of a rule that both checks have, or BN107, is an error or a
warning, and else `right`: what is a note fails no build. Code that cannot be run on its own is counted, and not
compared. A difference without a reason in `REASONS` ends the script with exit code 1.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import inspect
import json
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist
from speed import BNLINT
from torch import Tensor, nn

import bnlint
from bnlint.pages import load_pages

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "source"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "model"))
import mutants
import shapes
import stops
from mutant_kinds import KINDS

#: why the two differ, by a pattern of GROUP/NAME
REASONS = {
    "rule pages, Bad/BN107 .*": "BN107 is the runtime check's alone: no text shows such a stop.",
    "stops of the tests/(silent_function|zeroing_hook)": "No text shows it: a backward or a hook had to be judged.",
    "stops of the tests/copy_(no_grad|data)": (
        "The text is silent where a statistic replaces what a buffer held: so layers initialize themselves."
    ),
    "shapes of real code, meant/(weight of a loss|straight-through estimator|mean of another slice|reference of a part"
    "|a slice whose index has moved|parts drawn at random|factor of another part)": (
        "The shape stands in a layer that is called Norm, and of such a layer any wrong gradient is told."
    ),
    "shapes of real code, meant/attribute that may be two things": (
        "The text is silent where an argument decides; the layer that was built has made the decision."
    ),
    "shapes of real code, meant/arrays of a module without torch": (
        "The text works on arrays, which have no gradient; here it is run on a tensor."
    ),
}
SHARED = {page.code for page in load_pages().values() if page.engines == ("static", "runtime")}
SHAPES = ((6, 4, 4, 4), (6, 3, 4, 4), (6, 4), (3, 2, 4))
BOTH = ("wrong", "right")


@dataclass(frozen=True)
class Case:
    """Code that both checks are asked about, and the shapes of input that it may take."""

    group: str
    name: str
    code: str
    shapes: tuple[tuple[int, ...], ...] = SHAPES

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"


@dataclass(frozen=True)
class Answer:
    """What a check says: `wrong`, `right`, or why it says nothing; and the lines and codes of its findings."""

    verdict: str
    places: frozenset[tuple[int, str]] = frozenset()


class Behind(nn.Module):
    """A function behind a parameter, as it stands in a model."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Any:
        return self.function(x * self.scale)


def cases(per_pair: int | None) -> Iterator[Case]:
    for page in load_pages().values():
        blocks = [block for block in page.blocks if block.section in ("Bad", "Good")]
        for number, block in enumerate(blocks):
            yield Case(f"rule pages, {block.section}", f"{page.code} {number}", block.code)
    for kind in stops.KINDS:
        yield Case("stops of the tests", kind, stop_module(kind))
    for group in ("STOPPED", "RIGHT", "MEANT"):
        for name, code in getattr(shapes, group).items():
            yield Case(f"shapes of real code, {group.lower()}", name, code)
    for mutant in mutants.mutants(per_pair):
        yield Case("generated layers", mutant.name, mutant.source, (KINDS[mutant.kind].shape,))


def stop_module(kind: str) -> str:
    """Write a kind of `stops.py` as a module of its own: what it calls, and a layer that calls it."""
    source = inspect.getsource(stops)
    head = source[source.index("import inspect") : source.index("DIMS =")]
    parts = [head, "DIMS = [0, 2, 3]\n", inspect.getsource(stops.moments)]
    parts += [inspect.getsource(stops.SilentStatistics)] if kind == "silent_function" else []
    parts += [inspect.getsource(stops.GoodStatistics)] if kind == "good_function" else []
    if kind == "script":
        parts += [inspect.getsource(stops.detached_moments), "scripted_moments = torch.jit.script(detached_moments)\n"]
    parts += [inspect.getsource(stops.KINDS[kind]).replace("@kind\n", "")]
    norm = inspect.getsource(stops.StoppedNorm)
    norm = norm.replace("channels, kind, eps", "channels, eps").replace("        self.kind = kind\n", "")
    parts += [norm.replace("KINDS[self.kind](self, x)", f"{kind}(self, x)")]
    return "\n\n".join(textwrap.dedent(part) for part in parts)


def static(files: Mapping[Case, Path]) -> dict[Case, Answer]:
    """Ask the static check about all files in one run."""
    folder = str(next(iter(files.values())).parent)
    command = (*BNLINT, "check", "-q", "--isolated", "--no-cache", "--exit-zero", "--output-format", "json", folder)
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    found = defaultdict(list)
    for item in json.loads(run.stdout):
        found[Path(item["path"]).name].append((item["code"], item["severity"], item["line"]))
    return {case: answer(found[file.name]) for case, file in files.items()}


def runtime(case: Case, file: Path) -> Answer:
    """Ask the runtime check about each layer of a file; a function only where it has no layer that runs."""
    try:
        module = load(file)
    except Exception as error:
        return Answer(f"not run: {type(error).__name__}")
    found, ran, refused = [], False, ""
    for layer in layers(module):
        x = fitting(layer, case.shapes)
        if x is None:
            continue
        ran = True
        torch.manual_seed(0)
        try:
            findings = bnlint.check_model(layer, x)
        except bnlint.BnlintError as error:
            refused = f"refused: {error.what}"
            continue
        except Exception as error:
            refused = f"crashed: {type(error).__name__}: {error}"
            continue
        found += [(f.code, f.severity, f.location.line if f.location else 0) for f in findings]
    if not ran:
        return Answer("not run: no layer that runs alone")
    return Answer(refused) if refused and not found else answer(found)


def answer(found: Sequence[tuple[str, str, int]]) -> Answer:
    places = {(line, code) for code, level, line in found if level != "note" and code in SHARED | {"BN107"}}
    return Answer("wrong" if places else "right", frozenset(places))


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # dataclasses look themselves up
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[file.stem]
    return module


def layers(module: ModuleType) -> Iterator[nn.Module]:
    """Yield the layers that a module defines, made of nothing or of 4 channels, then its functions of one argument."""
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    for cls in (value for value in own if isinstance(value, type) and issubclass(value, nn.Module)):
        for arguments in ((), (4,)):
            torch.manual_seed(0)
            try:
                layer = cls(*arguments).double().train()
            except Exception:
                continue
            yield layer
            break
    if "norm" in vars(module) or not any(isinstance(value, type) for value in own):
        yield from (Behind(f).double().train() for f in own if inspect.isfunction(f) and takes_one(f))


def takes_one(function: Any) -> bool:
    return sum(p.default is p.empty for p in inspect.signature(function).parameters.values()) == 1


def fitting(layer: nn.Module, candidates: Sequence[tuple[int, ...]]) -> Tensor | None:
    """Return an input on which a layer runs, and its output, in training mode, has a gradient."""
    for shape in candidates:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 0.7 + 0.4
        state = {name: value.clone() for name, value in layer.state_dict().items()}
        try:
            layer(x)
        except Exception:
            continue
        finally:
            layer.load_state_dict(state)
        return x
    return None


def reason(case: Case) -> str | None:
    return next((why for pattern, why in REASONS.items() if re.fullmatch(pattern, case.key)), None)


def report(answers: Mapping[Case, tuple[Answer, Answer]]) -> Iterator[str]:
    """Yield the counts by group, and each difference."""
    yield "| | cases | not run alone | both wrong | at the same lines | both right | differ |"
    yield "|---|---|---|---|---|---|---|"
    for group in dict.fromkeys(case.group for case in answers):
        pairs = [pair for case, pair in answers.items() if case.group == group]
        verdicts = Counter((text.verdict, live.verdict.split(":")[0]) for text, live in pairs)
        skipped = sum(count for (_, live), count in verdicts.items() if live == "not run")
        wrong, right = (verdicts[verdict, verdict] for verdict in BOTH)
        same = sum(lines(text) == lines(live) for text, live in pairs if text.verdict == live.verdict == "wrong")
        differ = len(pairs) - skipped - wrong - right
        yield f"| {group} | {len(pairs)} | {skipped} | {wrong} | {same} | {right} | {differ} |"
    yield ""
    for case, (text, live) in answers.items():
        if differs(text, live):
            yield f"- {case.key}: static {said(text)}, runtime {said(live)}. {reason(case) or 'UNEXPLAINED'}"


def lines(given: Answer) -> set[int]:
    return {line for line, _ in given.places}


def said(given: Answer) -> str:
    return (
        f"{given.verdict} ({', '.join(sorted({code for _, code in given.places}))})" if given.places else given.verdict
    )


def differs(text: Answer, live: Answer) -> bool:
    return text.verdict != live.verdict and not live.verdict.startswith("not run")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stops", type=int, default=1, metavar="N", help="per kind and way to travel; 0 for all")
    parser.add_argument("--only", default="", metavar="REGEX", help="of GROUP/NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what torch warns about here is what the rules are about
    print(f"{datetime.date.today()}, Python {platform.python_version()}, torch {torch.__version__}.\n")
    with tempfile.TemporaryDirectory() as name:
        dist.init_process_group("gloo", init_method=f"file://{name}/store", rank=0, world_size=1)
        folder = Path(name, "cases")
        folder.mkdir()
        wanted = [case for case in cases(options.stops or None) if re.search(options.only, case.key)]
        files = {case: folder / f"case_{number}.py" for number, case in enumerate(wanted)}
        for case, file in files.items():
            file.write_text(case.code, encoding="utf-8")
        texts = static(files)
        answers = {}
        for number, (case, file) in enumerate(files.items()):
            answers[case] = texts[case], runtime(case, file)
            if number % 100 == 0:
                print(f"agree.py: {number} of {len(files)}", file=sys.stderr)
        dist.destroy_process_group()
    print("\n".join(report(answers)))
    unexplained = [case for case, (text, live) in answers.items() if differs(text, live) and reason(case) is None]
    raise SystemExit(bool(unexplained))


if __name__ == "__main__":
    main()
