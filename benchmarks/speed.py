"""Time bnlint beside other tools, as whole processes from the shell, side by side in one run.

    python benchmarks/speed.py --semgrep EXE --torchfix EXE --torch-preflight EXE > speed.md

timm and torch must be installed; their Python files are copied into a temporary folder, so that no tool sees a virtual
environment. The other tools are best installed in environments of their own; what is not given is left out. The runs
of all tools alternate, and the median counts, beside the least. Nothing here is a test: times are looked at by people.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import importlib.util
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RULE = Path(__file__).with_name("semgrep_taint.yaml")
BNLINT = (sys.executable, "-m", "bnlint")
CHECK = (*BNLINT, "check", "-q", "--isolated", "--output-format", "concise")  # as little as ruff -q prints

#: a file that nothing needs, one whose names others hand on, and one that much else needs
TIMM_CHANGED = ("utils/model_ema.py", "models/vgg.py", "layers/norm.py")
TORCH_CHANGED = ("optim/sgd.py", "nn/modules/batchnorm.py")


@dataclass
class Row:
    """One command, and what its runs took; a slow one runs once."""

    name: str
    command: Sequence[str]
    before: Callable[[], object] = lambda: None
    slow: bool = False
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    def run(self) -> None:
        self.before()
        start = time.perf_counter()
        child = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        assert child.stderr is not None
        errors = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.seconds.append(time.perf_counter() - start)
        self.cpu.append(usage.ru_utime + usage.ru_stime)
        self.megabytes.append(usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024))
        if child.returncode not in (0, 1):  # a crash is quick, and no result
            raise SystemExit(f"{' '.join(self.command)} exits {child.returncode}:\n{errors.decode()[-2000:]}")

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def alternate(rows: Sequence[Row], repeats: int) -> Sequence[Row]:
    """Run all rows in turn, again and again, so that what else the machine does falls on all alike."""
    for turn in range(repeats):
        for row in rows:
            if turn == 0 or not row.slow:
                print(f"{turn + 1}/{repeats} {row.name}", file=sys.stderr)
                row.run()
    return rows


def table(title: str, rows: Sequence[Row], against: Row | None = None) -> None:
    """Print rows as Markdown, each beside the row that they are compared with."""
    print(f"\n## {title}\n")
    ratio = f" times {against.name} |" if against else ""
    print(f"| | median | least | CPU | largest process |{ratio}\n|---|---|---|---|---|{'---|' if against else ''}")
    for row in rows:
        cells = [row.name, f"{row.median:.2f} s", f"{min(row.seconds):.2f} s", f"{statistics.median(row.cpu):.2f} s"]
        cells.append(f"{max(row.megabytes):.0f} MB")
        cells += [f"{row.median / against.median:.1f}"] if against else []
        print(f"| {' | '.join(cells)} |")


def copy_sources(package: str, to: Path) -> Path:
    """Copy the Python files of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise SystemExit(f"{package} is not installed here")
    root = Path(spec.origin).parent

    def not_python(folder: str, names: list[str]) -> list[str]:
        return [name for name in names if not name.endswith(".py") and not Path(folder, name).is_dir()]

    shutil.copytree(root, to, ignore=not_python)
    return to


def describe(tree: Path) -> str:
    files = list(tree.rglob("*.py"))
    lines = sum(file.read_bytes().count(b"\n") for file in files)
    return f"{len(files):,} files, {lines:,} lines"


def trees(tree: Path, others: Sequence[Row], changed: Sequence[str], scratch: Path, ruff: str) -> tuple[list[Row], Row]:
    """Make the rows for one tree: cold, warm, and with one file changed, beside ruff and the others."""
    # A copy of another name would be no package of that name, and what imports it by its name would not rest on it.
    warm, altered = scratch / f"cache-{tree.name}", scratch / "changed" / tree.name
    subprocess.run([*CHECK, "--cache-dir", str(warm), str(tree)], stdout=subprocess.DEVNULL, check=False)
    shutil.copytree(tree, altered)
    cache = scratch / f"cache-changed-{tree.name}"
    again = (*CHECK, "--cache-dir", str(cache), str(altered))
    subprocess.run(again, stdout=subprocess.DEVNULL, check=False)

    reference = Row("ruff", (ruff, "check", "--no-cache", "--isolated", "--select", "F", "-q", str(tree)))
    rows = [
        reference,
        Row("bnlint, cold", (*CHECK, "--no-cache", str(tree))),
        Row("bnlint, warm", (*CHECK, "--cache-dir", str(warm), str(tree))),
        *(Row(f"bnlint, `{name}` changed", again, functools.partial(change, altered / name)) for name in changed),
        *others,
    ]
    return rows, reference


def change(file: Path) -> None:
    """Change the first method of a file, by one more line in it, or by that line less where it is there.

    So each run meets a call that is new, or gone: a second such line would change less than the first.
    """
    text, line = file.read_text(encoding="utf-8"), "\n        print(1)"
    assert "\n        return " in text
    without = text.replace(f"{line}\n        return ", "\n        return ", 1)
    with_it = text.replace("\n        return ", f"{line}\n        return ", 1)
    file.write_text(without if without != text else with_it, encoding="utf-8")


def others_for(tree: Path, options: argparse.Namespace, slow_too: bool) -> list[Row]:
    rows = []
    if options.semgrep:
        quiet = ("--metrics=off", "--disable-version-check", "--quiet", "--no-git-ignore")
        rows.append(Row("semgrep, one taint rule", (options.semgrep, "scan", *quiet, "--config", str(RULE), str(tree))))
    if options.torchfix and slow_too:
        rows.append(Row("TorchFix", (options.torchfix, str(tree)), slow=True))
    if options.torch_preflight and slow_too:
        rows.append(Row("torch-preflight", (options.torch_preflight, "check", str(tree)), slow=True))
    return rows


def copies(tree: Path, scratch: Path, counts: Sequence[int] = (1, 2, 4, 8)) -> list[Row]:
    """Make a row for each number of copies of a tree, side by side in one folder."""
    rows = []
    for count in counts:
        folder = scratch / f"{count}x"
        for number in range(count):
            shutil.copytree(tree, folder / f"copy{number}")
        rows.append(Row(f"{count}×", (*CHECK, "--no-cache", str(folder))))
    return rows


def long_chain(length: int) -> str:
    steps = "".join(f"    m{n + 1} = m{n} + 1\n" for n in range(length))
    return f"def f(x):\n    m0 = x.mean().detach()\n{steps}    return x - m{length}\n"


def many_branches(count: int) -> str:
    branches = "".join(f"    if k == {n}:\n        m = m + {n}\n" for n in range(count))
    return f"def f(x, k):\n    m = x.mean().detach()\n{branches}    return x - m\n"


def nested(depth: int) -> str:
    """Nest blocks, and an expression in the innermost; Python allows 100 levels of the one, 200 of the other."""
    blocks = "".join(f"{'    ' * (n + 1)}if k > {n}:\n" for n in range(depth))
    expression = "abs(" * (2 * depth) + "x.mean().detach()" + ")" * (2 * depth)
    return f"def f(x, k):\n    m = 0\n{blocks}{'    ' * (depth + 1)}m = {expression}\n    return x - m\n"


def hard_files(scratch: Path) -> list[Row]:
    """Make a row for each file that nobody would write, and for one of a tenth of its size."""
    rows = []
    texts = {
        "chain of 1,000 assignments": long_chain(1_000),
        "chain of 10,000 assignments": long_chain(10_000),
        "function of 1,000 branches": many_branches(1_000),
        "function of 10,000 branches": many_branches(10_000),
        "9 blocks, 18 calls nested": nested(9),
        "90 blocks, 180 calls nested": nested(90),
    }
    for number, (name, text) in enumerate(texts.items()):
        file = scratch / f"hard{number}.py"
        file.write_text(text, encoding="utf-8")
        rows.append(Row(name, (*CHECK, "--no-cache", str(file))))
    return rows


def version(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return (run.stdout.strip() or run.stderr.strip() or "?").splitlines()[0]


def package_version(executable: str, package: str) -> str:
    """Ask the environment of an executable that has no --version."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return version(str(Path(executable).with_name("python")), "-c", code)


def heading(options: argparse.Namespace) -> None:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    tools = [version(*BNLINT, "--version"), version(options.ruff, "--version")]
    tools += [f"semgrep {version(options.semgrep, '--version')}"] if options.semgrep else []
    tools += [f"TorchFix {package_version(options.torchfix, 'torchfix')}"] if options.torchfix else []
    tools += [version(options.torch_preflight, "--version")] if options.torch_preflight else []
    print("# Speed\n")
    machine = f"{cores} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{datetime.date.today()}, {machine}. {'; '.join(tools)}.")
    print(
        "Whole processes. The median and the least of the runs, in which all tools take turns; CPU time over all cores."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for tool in ("semgrep", "torchfix", "torch-preflight"):
        parser.add_argument(f"--{tool}", metavar="EXE")
    parser.add_argument("--ruff", default=shutil.which("ruff") or "ruff", metavar="EXE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip", nargs="*", default=[], choices=["start", "timm", "torch", "copies", "hard"])
    options = parser.parse_args()
    heading(options)
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


def measure(options: argparse.Namespace, scratch: Path) -> None:
    if "start" not in options.skip:
        python = Row("python", (sys.executable, "-c", "pass"))
        commands = {"ruff --version": (options.ruff, "--version"), "bnlint --version": (*BNLINT, "--version")}
        rows = [python, *(Row(name, command) for name, command in commands.items())]
        table("Start", alternate(rows, 2 * options.repeats), python)
    timm = copy_sources("timm", scratch / "timm")
    if "timm" not in options.skip:
        title = f"timm ({describe(timm)})"
        rows, ruff = trees(timm, others_for(timm, options, True), TIMM_CHANGED, scratch, options.ruff)
        table(title, alternate(rows, options.repeats), ruff)
    if "torch" not in options.skip:
        torch = copy_sources("torch", scratch / "torch")
        title = f"torch ({describe(torch)})"
        rows, ruff = trees(torch, others_for(torch, options, False), TORCH_CHANGED, scratch, options.ruff)
        table(title, alternate(rows, options.repeats), ruff)
    if "copies" not in options.skip:
        rows = copies(timm, scratch)
        table("Copies of timm, cold", alternate(rows, options.repeats), rows[0])
    if "hard" not in options.skip:
        table("Files that nobody would write", alternate(hard_files(scratch), options.repeats))


if __name__ == "__main__":
    main()
