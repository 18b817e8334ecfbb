"""Check every Python file below some folders, and count crashes: `python benchmarks/no_crash.py FOLDER…`.

Prints the number of files and bytes, the seconds, the slowest files, findings by code, the functions whose flow was
lost, and each crash with its file. The exit code is 1 if there was one.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from pathlib import Path

from bnlint.errors import InputError
from bnlint.source.check import inspect_source
from bnlint.source.files import read
from bnlint.source.project import Project


def main(folders: list[str]) -> int:
    files = sorted({path for folder in folders for path in Path(folder).rglob("*.py") if path.is_file()})
    project = Project(files)
    codes: Counter[str] = Counter()
    times: list[tuple[float, Path]] = []
    lost = unreadable = size = 0
    crashes: list[Path] = []
    started = time.perf_counter()
    for path in files:
        before = time.perf_counter()
        try:
            source = read(path)
            checked = inspect_source(source, str(path), project)
        except InputError:
            unreadable += 1
            continue
        except Exception:
            crashes.append(path)
            print(f"crash: {path}\n{traceback.format_exc()}", flush=True)
            continue
        size += len(source)
        lost += len(checked.lost)
        codes.update(finding.code for finding in checked.findings)
        times.append((time.perf_counter() - before, path))
    seconds = time.perf_counter() - started
    print(f"{len(files)} files, {size / 1e6:.0f} MB, {seconds:.0f} s, {len(crashes)} crashes, {unreadable} unreadable")
    print(f"flow lost in {lost} functions; findings: {dict(sorted(codes.items()))}")
    for spent, path in sorted(times, reverse=True)[:5]:
        print(f"{spent:6.1f} s  {path}")
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
