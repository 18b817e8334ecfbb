"""Check architectures of torchvision and timm with their own norms, and with every norm swapped for a twin.

    python benchmarks/zoo.py --out zoo.jsonl                      # hours: all families
    python benchmarks/zoo.py --out zoo.jsonl --only timm/swin     # those that match
    python benchmarks/zoo.py --out zoo.jsonl --table              # what is there, as tables

Each architecture has random weights and runs a batch of two of the smallest size that it takes. `native` is the
architecture as it is, `stopped` and `live` have twins (`twins.py`) of its norms, with and without a stop; a norm of
which the twin does not give the same outputs stays as it is and is counted. Expected are no finding, one layer for each
swapped norm that runs, and no finding. Every line of the output is one architecture in one variant; what is there
already is not checked again. Each architecture has a process of its own and a limit of time: Linux and macOS only.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import re
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
import twins
from timm.models._registry import _model_to_module
from torch import Tensor, nn

import bnlint

VARIANTS = ("native", "stopped", "live")
SIZES = (64, 96, 128, 160, 192, 224, 256, 288, 320)
ALIKE = 1e-3  # relative, in float32, where a batch norm may have but two values
#: names that promise a small model; without one, those that promise a large one are left out
SMALL = re.compile(r"atto|femto|pico|nano|tiny|mini|small|xx?s\b|_[mst]?0|050|_s(?:\b|_)|\d{2}t\b|18d?\b|_a0|[a-z]10t")
LARGE = re.compile(r"base|large|huge|giant|gigant|enormous|so\d00m|_[lx]{1,3}\b|_[bl]\d*_|_\d+b_|_pruned|_in21k|_clip")
CANDIDATES = 4  # how many of them are built to see which is the smallest
TORCHVISION = {
    "classification": """alexnet convnext_tiny densenet121 efficientnet_b0 efficientnet_v2_s googlenet inception_v3
        maxvit_t mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 resnet50
        resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_32""",
    "segmentation": "deeplabv3_mobilenet_v3_large fcn_resnet50 lraspp_mobilenet_v3_large",
    "detection": """fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_resnet50_fpn_v2 fcos_resnet50_fpn
        keypointrcnn_resnet50_fpn maskrcnn_resnet50_fpn retinanet_resnet50_fpn_v2 ssd300_vgg16
        ssdlite320_mobilenet_v3_large""",
    "video": "mc3_18 mvit_v1_b mvit_v2_s r2plus1d_18 r3d_18 s3d swin3d_t",
    "optical flow": "raft_small",
}


@dataclass(frozen=True)
class Family:
    """Architectures of one kind whose names begin alike; the smallest of these is checked."""

    library: str
    kind: str
    word: str
    names: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.library}/{self.kind}/{self.word}"


@dataclass(frozen=True)
class Subject:
    """A model that runs on its inputs, and how to say what they are."""

    model: nn.Module
    inputs: tuple[Any, ...]
    shape: str


def families() -> Iterator[Family]:
    """Yield torchvision's architectures, then those of timm: one for each first word of the names in a module.

    Each module comes once before any comes again, and what has no small variant comes last.
    """
    for kind, names in TORCHVISION.items():
        yield from (Family("torchvision", kind, name, (name,)) for name in names.split())
    members: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for name in timm.list_models(exclude_filters="test_*"):
        word = re.match(r"[a-z]+(?:v\d+)?", name)
        members[_model_to_module[name]][word[0] if word else name].append(name)
    found: list[tuple[bool, int, Family]] = []
    for module, words in members.items():
        for nth, (word, names) in enumerate(words.items()):
            small = [name for name in names if SMALL.search(name)]
            usual = [name for name in names if not LARGE.search(name)]
            chosen = (small or usual or names)[:CANDIDATES]
            found.append((not small, nth, Family("timm", module, word, tuple(chosen))))
    for *_, family in sorted(found, key=lambda item: item[:2]):
        yield family


def smallest(family: Family) -> str:
    """Return the name of the family's model with the fewest parameters."""
    if len(family.names) == 1:
        return family.names[0]

    def size(name: str) -> int:
        with torch.device("meta"):
            return sum(p.numel() for p in timm.create_model(name).parameters())

    return min(family.names, key=size)


def subject(family: Family, name: str) -> Subject:
    """Build a model and the smallest input on which it runs in training mode."""
    attempts = timm_subjects(name) if family.library == "timm" else torchvision_subjects(family.kind, name)
    problem = "no size to try"
    for attempt in attempts:
        try:
            candidate = attempt()
            with torch.no_grad():
                copy.deepcopy(candidate.model)(*copy.deepcopy(candidate.inputs))
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            continue
        return candidate
    raise RuntimeError(f"ran on no input: {problem}")


def timm_subjects(name: str) -> Iterator[Callable[[], Subject]]:
    config = timm.get_pretrained_cfg(name)
    channels, *_, usual = config.input_size if config else (3, 224)
    for size in (*(size for size in SIZES if size < usual), usual):
        resized = {"img_size": size} if config and config.fixed_input_size and size != usual else {}

        def attempt(size: int = size, resized: dict[str, int] = resized) -> Subject:
            model = timm.create_model(name, **resized).train()
            return Subject(model, (torch.randn(2, channels, size, size),), f"2x{channels}x{size}x{size}")

        yield attempt


def torchvision_subjects(kind: str, name: str) -> Iterator[Callable[[], Subject]]:
    for size in SIZES:

        def attempt(size: int = size) -> Subject:
            build = torchvision.models.get_model_builder(name)
            resized: dict[str, Any] = {}
            if kind in ("segmentation", "detection"):
                resized = {"weights_backbone": None}
            if kind == "detection" and "ssd" not in name:
                resized |= {"min_size": size, "max_size": size}
            model = build(weights=None, **resized).train()
            match kind:
                case "detection":
                    images = [torch.rand(3, size, size) for _ in range(2)]
                    return Subject(model, (images, targets(size)), f"2 of 3x{size}x{size}")
                case "video":
                    return Subject(model, (torch.randn(2, 3, 16, size, size),), f"2x3x16x{size}x{size}")
                case "optical flow":
                    pair = torch.randn(2, 3, size, size), torch.randn(2, 3, size, size)
                    return Subject(model, pair, f"two of 2x3x{size}x{size}")
                case _:
                    return Subject(model, (torch.randn(2, 3, size, size),), f"2x3x{size}x{size}")

        yield attempt


def targets(size: int) -> list[dict[str, Tensor]]:
    """Return one object for each of two images, with what any detector of torchvision wants to know of it."""
    corner = size / 4
    return [
        {
            "boxes": torch.tensor([[corner, corner, 3 * corner, 3 * corner]]),
            "labels": torch.tensor([1]),
            "masks": torch.ones(1, size, size, dtype=torch.uint8),
            "keypoints": torch.tensor([[[2 * corner, 2 * corner, 1.0]] * 17]),
        }
        for _ in range(2)
    ]


def twinned(given: Subject) -> tuple[dict[str, nn.Module], Counter[str]]:
    """Return the norms of a model that have a twin, and the classes of those that stay as they are.

    A norm has a twin where that gives the same outputs, whenever it runs.
    """
    model = copy.deepcopy(given.model)
    norms = {path: module for path, module in model.named_modules() if twins.is_norm(module)}
    unlike: set[str] = {path for path, norm in norms.items() if twins.forward_of(norm) is None}

    def compare(path: str) -> Any:
        def hook(norm: Any, inputs: tuple[Any, ...], output: Any) -> None:
            twin = {path: copy.deepcopy(norm)}
            twin[path]._forward_hooks.clear()
            twins.swap(twin, stopped=False)
            with torch.no_grad():
                other = twin[path](*inputs)
            if not torch.allclose(other, output, rtol=ALIKE, atol=ALIKE * float(output.abs().max())):
                unlike.add(path)

        return hook

    for path in norms.keys() - unlike:
        norms[path].register_forward_hook(compare(path))
    with torch.no_grad():
        model(*copy.deepcopy(given.inputs))
    names = Counter(type(norm).__name__ for path, norm in norms.items() if path in unlike)
    return {path: norm for path, norm in given.model.named_modules() if path in norms.keys() - unlike}, names


def used(given: Subject, norms: Mapping[str, nn.Module]) -> tuple[set[str], set[str]]:
    """Return which norms run in a training step, and on which of them the outputs of the model depend."""
    ran, counted = set(), set()
    model = copy.deepcopy(given.model)

    def hook_of(path: str) -> Any:
        def hook(_norm: Any, _inputs: Any, output: Tensor) -> None:
            ran.add(path)
            if output.requires_grad:
                output.register_hook(lambda _: counted.add(path))

        return hook

    for path in norms:
        model.get_submodule(path).register_forward_hook(hook_of(path))
    found = [t for t in tensors(model(*copy.deepcopy(given.inputs))) if t.requires_grad]
    torch.autograd.backward(found, [torch.randn_like(t) for t in found])
    return ran, counted


def tensors(value: Any) -> Iterator[Tensor]:
    match value:
        case Tensor():
            yield value
        case Mapping():
            for item in value.values():
                yield from tensors(item)
        case list() | tuple():
            for item in value:
                yield from tensors(item)


def check(model: nn.Module, given: Subject, norms: Mapping[str, nn.Module]) -> dict[str, Any]:
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        findings = bnlint.check_model(model, *given.inputs)
    seconds = time.perf_counter() - start
    told = [finding for finding in findings if finding.severity is not bnlint.Severity.NOTE]
    layers = {finding.module.module for finding in told if finding.module is not None}
    return {
        "findings": len(told),
        "notes": len(findings) - len(told),
        "layers": len(layers & norms.keys()),
        "elsewhere": sorted({f"{f.code} {f.module.module if f.module else ''}" for f in told if not _of(f, norms)}),
        "codes": dict(Counter(finding.code for finding in told)),
        "warnings": sorted({str(w.message) for w in caught if issubclass(w.category, bnlint.CaptureWarning)}),
        "seconds": round(seconds, 1),
    }


def _of(finding: bnlint.Finding, norms: Mapping[str, nn.Module]) -> bool:
    return finding.module is not None and finding.module.module in norms


def architecture(family: Family, name: str | None, out: Path) -> None:
    """Check one architecture in the variants that are missing, and write a line for each."""
    torch.manual_seed(0)
    name = name or smallest(family)
    record = {"library": family.library, "kind": family.kind, "family": family.key, "model": name}
    missing = [variant for variant in VARIANTS if (family.key, variant) not in done(out)]
    try:
        given = subject(family, name)
        norms, left = twinned(given)
        ran, counted = used(given, norms)
    except Exception as error:
        for variant in missing:
            write(out, record | {"variant": variant, "error": f"before bnlint: {type(error).__name__}: {error}"[:300]})
        return
    record |= {"input": given.shape, "norms": len(norms), "ran": len(ran), "counted": len(counted), "left": dict(left)}
    for variant in missing:
        model = copy.deepcopy(given.model)
        if variant != "native":
            twins.swap({path: model.get_submodule(path) for path in norms}, stopped=variant == "stopped")
        try:
            result = check(model, given, norms)
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"[:300]}
        write(out, record | {"variant": variant} | result)


def write(out: Path, record: Mapping[str, Any]) -> None:
    with out.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    print(record["model"], record["variant"], record.get("error") or result_of(record), flush=True)


def result_of(record: Mapping[str, Any]) -> str:
    return f"{record['layers']} of {record['counted']}, {record['findings']} findings, {record['seconds']} s"


def records(out: Path) -> list[dict[str, Any]]:
    lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
    return [json.loads(line) for line in lines]


def done(out: Path) -> dict[tuple[str, str], str]:
    return {(record["family"], record["variant"]): record["model"] for record in records(out)}


def sweep(wanted: Sequence[Family], out: Path, limit: float) -> None:
    """Check what is missing, each architecture in a process that may take `limit` seconds."""
    fork = multiprocessing.get_context("fork")
    for family in wanted:
        there = done(out)
        if all((family.key, variant) in there for variant in VARIANTS):
            continue
        name = next((there[family.key, variant] for variant in VARIANTS if (family.key, variant) in there), None)
        process = fork.Process(target=architecture, args=(family, name, out))
        process.start()
        process.join(limit)
        late = process.is_alive()
        if late:
            process.kill()
            process.join()
        why = f"more than {limit:g} s" if late else f"ended with exit code {process.exitcode}"
        for variant in VARIANTS:
            if (family.key, variant) not in done(out):
                record = {"library": family.library, "kind": family.kind, "family": family.key, "variant": variant}
                write(out, record | {"model": name or family.word, "error": why})


def as_expected(record: Mapping[str, Any]) -> bool:
    if "error" in record:
        return False
    if record["variant"] == "stopped":
        return record["layers"] == record["ran"] == record["counted"] and not record["elsewhere"]
    return not record["findings"]


def table(out: Path) -> Iterator[str]:
    """Yield a row for each library and kind (for timm, one row), and each line that is not as expected."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records(out):
        groups["timm" if record["library"] == "timm" else f"torchvision, {record['kind']}"].append(record)
    yield "| | architectures | norms swapped | native: findings | stopped: norms found | live: findings |"
    yield "|---|---|---|---|---|---|"
    for name, group in groups.items():
        of = {v: [r for r in group if r["variant"] == v and "error" not in r] for v in VARIANTS}
        sums = {v: sum(r["layers" if v == "stopped" else "findings"] for r in of[v]) for v in VARIANTS}
        count = len({r["family"] for r in group})
        ran = sum(r["ran"] for r in of["stopped"])
        yield f"| {name} | {count} | {ran} | {sums['native']} | {sums['stopped']} | {sums['live']} |"
    yield ""
    for record in records(out):
        if not as_expected(record):
            what = record.get("error") or f"ran {record['ran']}, {result_of(record)}, elsewhere {record['elsewhere']}"
            yield f"- {record['library']} `{record['model']}`, {record['variant']}: {what}"
    left = sum((Counter(r["left"]) for r in records(out) if r["variant"] == "native" and "left" in r), Counter())
    yield f"\nStay as they are: {dict(left)}"
    told = Counter(warning for record in records(out) for warning in record.get("warnings", ()))
    yield f"\nWarnings: {dict(told)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON lines")
    parser.add_argument("--only", default="", metavar="REGEX", help="of LIBRARY/KIND/NAME")
    parser.add_argument("--limit", type=float, default=300.0, metavar="SECONDS", help="for one architecture")
    parser.add_argument("--table", action="store_true", help="check nothing, and print the tables")
    options = parser.parse_args()
    if options.table:
        print("\n".join(table(options.out)))
        return
    torch.set_num_threads(1)
    sweep([family for family in families() if re.search(options.only, family.key)], options.out, options.limit)


if __name__ == "__main__":
    main()
