"""Run the static check over public packages and hold the findings against the verdicts of people who read them.

`python benchmarks/corpus.py` fetches the packages of `tests/data/corpus-packages.tsv` (their code is read, never
run), checks them, and prints what differs from `tests/data/corpus.tsv`: findings that nobody has judged yet, with
their source, and rows that are no longer found. `--write` writes the table anew and keeps the verdicts; new rows get
`?` and wait for a reader. `--figures` only prints the precision that the table amounts to.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, fields, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

DATA = Path(__file__).parents[1] / "tests" / "data"
TABLE = DATA / "corpus.tsv"
PACKAGES = DATA / "corpus-packages.tsv"

#: what a reader says of a finding: the training is wrong, the stop is on purpose, or nothing is wrong there
VERDICTS = ("true", "meant", "false")
UNJUDGED = "?"
CONTEXT = 4


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """A finding in a package, and what a reader says of it."""

    package: str
    version: str
    path: str
    line: int
    code: str
    statistic: str
    severity: str
    verdict: str = UNJUDGED
    reason: str = ""

    @property
    def place(self) -> tuple[str, str, int, str, str]:
        """What makes it the same finding in the next run."""
        return self.package, self.path, self.line, self.code, self.statistic

    @property
    def right(self) -> bool:
        """Whether it is loud about what is wrong, or quiet about what is meant."""
        return self.verdict == "true" if self.severity != "note" else self.verdict in {"true", "meant"}


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the corpus, in one version."""

    name: str
    version: str


def rows(path: Path = TABLE) -> list[Row]:
    """Read the table of verdicts."""
    return [Row(**{**row, "line": int(row["line"])}) for row in _read(path)]


def packages(path: Path = PACKAGES) -> list[Package]:
    """Read the list of packages."""
    return [Package(**row) for row in _read(path)]


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def write(table: Iterable[Row], path: Path = TABLE) -> None:
    """Write the table of verdicts, sorted."""
    lines = ["\t".join(field.name for field in fields(Row)), *("\t".join(map(str, astuple(r))) for r in sorted(table))]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def installed(package: Package) -> Path | None:
    """Return the site-packages that hold this very version of a package, None where it is not installed."""
    try:
        if version(package.name).partition("+")[0] != package.version:
            return None
    except PackageNotFoundError:
        return None
    spec = importlib.util.find_spec(package.name)
    return Path(spec.origin).parents[1] if spec and spec.origin else None


def fetched(package: Package, folder: Path) -> Path:
    """Return a folder that holds the source of a package as site-packages would, fetching it if need be."""
    target = folder / f"{package.name}-{package.version}"
    if not target.is_dir():
        wheels = folder / "wheels" / target.name
        command = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", str(wheels)]
        wanted = f"{package.name}=={package.version}"
        subprocess.run([sys.executable, "-m", "pip", *command, wanted], check=True)
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target, [name for name in archive.namelist() if name.endswith(".py")])
    return target


def check(package: Package, base: Path, paths: Sequence[Path]) -> list[Row]:
    """Run `bnlint check` on files and folders of a package.

    Args:
        package: The package.
        base: The folder that paths in the table are relative to.
        paths: What to check.

    Raises:
        RuntimeError: The check could not do its job.
    """
    command = [sys.executable, "-m", "bnlint", "check", "--isolated", "--no-cache", "--exit-zero", "--quiet"]
    run = subprocess.run(
        [*command, "--output-format", "json", *map(str, paths)], capture_output=True, text=True, check=False
    )
    if run.returncode:
        raise RuntimeError(f"{package.name}: {run.stderr.strip()}")
    return [
        Row(
            package.name,
            package.version,
            Path(found["path"]).absolute().relative_to(base.absolute()).as_posix(),
            found["line"],
            found["code"],
            found["statistic"] or "",
            found["severity"],
        )
        for found in json.loads(run.stdout)
    ]


def judged(found: Iterable[Row], table: Iterable[Row]) -> list[Row]:
    """Give findings the verdicts that the table has for them."""
    known = {row.place: row for row in table}
    return [
        replace(row, verdict=known[row.place].verdict, reason=known[row.place].reason) if row.place in known else row
        for row in found
    ]


def gradients(table: Iterable[Row]) -> list[Row]:
    """Keep the findings whose precision has a goal: stopped statistics and graphs that are kept."""
    return [row for row in table if row.code.startswith("BN1") or row.code == "BN201"]


def figures(table: Sequence[Row]) -> str:
    """Say in two lines how often the table's findings are right."""
    kept = gradients(table)
    loud = [row for row in kept if row.severity != "note"]
    return "\n".join(
        f"{what}: {sum(row.right for row in group)} of {len(group)} right"
        + (f" ({sum(row.right for row in group) / len(group):.0%})" if group else "")
        for what, group in (("errors and warnings of BN1xx and BN201", loud), ("with the notes", kept))
    )


def excerpt(path: Path, line: int) -> str:
    """Show the source around a line."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    shown = range(max(1, line - CONTEXT), min(len(lines), line + CONTEXT) + 1)
    return "\n".join(f"{'>' if n == line else ' '}{n:6d} {lines[n - 1]}" for n in shown)


def _checked(package: Package, folder: Path) -> tuple[Path, list[Row]]:
    site = installed(package)
    base = site or fetched(package, folder)
    return base, check(package, base, [base / package.name] if site else [base])


def _run(arguments: argparse.Namespace) -> int:
    table = rows() if TABLE.exists() else []
    chosen = [p for p in packages() if not arguments.packages or p.name in arguments.packages]
    names = {package.name for package in chosen}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda package: _checked(package, arguments.folder), chosen))
    found = judged([row for _, result in results for row in result], table)
    bases = {package.name: base for package, (base, _) in zip(chosen, results, strict=True)}
    for row in found:
        if row.verdict == UNJUDGED:
            print(f"\nnew: {row.package} {row.path}:{row.line} {row.code} {row.severity} {row.statistic}")
            print(excerpt(bases[row.package] / row.path, row.line))
    places = {row.place: row for row in found}
    for row in table:
        if row.package in names and row.place not in places:
            print(f"gone: {row.package} {row.path}:{row.line} {row.code} {row.statistic} ({row.verdict})")
        elif row.package in names and row.severity != places[row.place].severity:
            print(f"{row.path}:{row.line} {row.code}: was {row.severity}, is {places[row.place].severity}")
    if arguments.write:
        write([*found, *(row for row in table if row.package not in names)])
    print(figures(found))
    return int({row.place for row in found} != {row.place for row in table if row.package in names})


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", help="only these packages")
    parser.add_argument("--folder", type=Path, default=Path(".corpus"), help="where fetched packages are kept")
    parser.add_argument("--jobs", type=int, default=2, help="how many packages are checked at once")
    parser.add_argument("--write", action="store_true", help="write the table anew")
    parser.add_argument("--figures", action="store_true", help="print the precision of the table and stop")
    arguments = parser.parse_args()
    if arguments.figures:
        print(figures(rows()))
        return
    sys.exit(_run(arguments))


if __name__ == "__main__":
    main()
