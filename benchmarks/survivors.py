"""Change the code of bnlint at random places by mutmut, and list the changes that its own tests do not notice.

    python benchmarks/survivors.py flow --number 100
    python benchmarks/survivors.py repairs --number 20 --seed 1

Needs `pip install mutmut` (3.8) beside the packages of the tests. All changes that mutmut knows for a package are
written into a copy of the checkout; of these, a sample is run, each against the quick tests that reach its function.
What survives is printed as a diff, and has to be read: some of it changes nothing that can be seen.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("bnlint", "rules", "tests", "examples", "docs", "benchmarks", "README.md", "pyproject.toml")
#: the quick tests that hold a package
TESTS = {
    "flow": [
        "tests/flow",
        *(
            f"tests/source/test_{name}.py"
            for name in ("formula", "meant", "missed", "reductions", "running", "silence", "travel")
        ),
    ],
    "repairs": [f"tests/repairs/test_{name}.py" for name in ("behavior", "certify", "native", "recognize", "unstop")],
}
_CONFIGURATION = """
[tool.mutmut]
source_paths = ["bnlint"]
only_mutate = ["bnlint/{package}/*.py"]
pytest_add_cli_args_test_selection = {tests}
also_copy = {copied}
"""
KILLED, SURVIVED = 1, 0


def prepared(package: str, folder: Path) -> None:
    """Copy what the tests need, and tell mutmut what to do with it."""
    for name in COPIED:
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8").replace(" -n auto", " -p no:xdist")
    more = _CONFIGURATION.format(package=package, tests=json.dumps(TESTS[package]), copied=json.dumps(COPIED))
    file.write_text(text + more, encoding="utf-8")


def mutmut(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "mutmut", *arguments]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    return done.stdout + done.stderr


def results(folder: Path) -> dict[str, int | None]:
    """Return the exit code of the tests for each change, None for one that was not run."""
    found: dict[str, int | None] = {}
    for file in (folder / "mutants").rglob("*.meta"):
        found |= json.loads(file.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def sample(folder: Path, number: int, seed: int) -> Sequence[str]:
    mutmut(folder, "run", "--max-children", "1", "no.change.has.this.name")  # writes all of them, and runs none
    names = sorted(results(folder))
    if not names:
        raise SystemExit(mutmut(folder, "run", "--max-children", "1", "none")[-2000:])
    print(f"{len(names)} changes, a sample of {min(number, len(names))} from seed {seed}", flush=True)
    return random.Random(seed).sample(names, min(number, len(names)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", choices=TESTS)
    parser.add_argument("--number", type=int, default=80, help="changes to run (default 80)")
    parser.add_argument("--seed", type=int, default=0, help="of the sample (default 0)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepared(options.package, folder)
        chosen = sample(folder, options.number, options.seed)
        told = mutmut(folder, "run", "--max-children", "1", *chosen)
        found = {each: code for each, code in results(folder).items() if each in set(chosen)}
        survivors = [each for each, code in found.items() if code == SURVIVED]
        if any(code is None for code in found.values()):
            raise SystemExit(told[-2000:])
        for each in survivors:
            print(re.sub(r"(?m)^(---|\+\+\+) .*\n", "", mutmut(folder, "show", each)), flush=True)
        others = len(found) - len(survivors) - sum(code == KILLED for code in found.values())
        score = f"{len(found) - len(survivors)} of {len(found)} noticed"
        print(
            f"{options.package}: {score}"
            + (f", {others} of them by a crash, a time limit or no test" if others else "")
        )


if __name__ == "__main__":
    main()
