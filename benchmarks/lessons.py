"""What each solved lesson takes of a machine: the peak memory of its kernel, CPU seconds, and seconds.

    python benchmarks/lessons.py [LESSON ...]     # e.g. 00 04; a part of the lessons is printed and not stored

Each lesson runs as `make course` runs it (one thread, embedded model) in a kernel of its own, which reads its own
peak at the end: VmHWM of /proc/self/status, so Linux only. CPU seconds count the kernel and its finished child
processes (compilers); memory is the kernel's alone. Writes results/lessons.json, which docs/TEACHING.md quotes.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

from machine import cpu
from nbformat.v4 import new_code_cell

from valuelab.course.build import notebook, root, sources
from valuelab.course.lesson import read
from valuelab.course.run import execute

LAST = """
import json, re, resource
both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print(json.dumps({"peak_mb": int(peak) / 1e3 * 1.024, "cpu_seconds": sum(u.ru_utime + u.ru_stime for u in both)}))
"""


def measure(path: Path) -> dict[str, float]:
    """Peak memory in MB, CPU seconds and seconds of one lesson."""
    nb = notebook(read(path), "solution")
    nb.cells.append(new_code_cell(LAST))
    seconds = execute(nb, path.parent, path.stem)
    found = json.loads(nb.cells[-1].outputs[0].text)
    return {**{name: round(value, 1) for name, value in found.items()}, "seconds": round(seconds, 1)}


def main(wanted: list[str]) -> None:
    load, rows = os.getloadavg()[0], {}
    for path in sources(root(), wanted):
        rows[path.stem] = measure(path)
        print(path.stem, rows[path.stem], flush=True)
    if wanted:
        return
    record = {
        "lessons": rows, "cpu": cpu(), "cores": os.cpu_count(), "load_before": round(load, 1),
        "machine": f"{platform.machine()}, {platform.system()}", "torch": version("torch"),
        "python": platform.python_version(), "date": date.today().isoformat(),
    }  # fmt: skip
    path = Path(__file__).parent / "results" / "lessons.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
