"""An offline kit: `python -m valuelab.course.kit [--out build/kit]`.

One folder with the course (model and data included), a wheel of everything it needs for this platform and this version
of Python, and `install.sh`, which sets the course up with the network cut. Making the kit needs a network; using it
needs Python of the same version, and nothing else.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from .build import root
from .lesson import LessonError

LEFT_OUT = (".git", ".venv", "build", "out", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis",
            ".ipynb_checkpoints")  # fmt: skip
INSTALL = """\
#!/bin/sh
# Sets the course up from the wheels beside it; no network is used. PYTHON=... names another Python {version}.
set -e
cd "$(dirname "$0")/course"
PYTHON=${{PYTHON:-python{version}}}
here=$("$PYTHON" -c 'import platform as p; print(*p.python_version_tuple()[:2], sep=".", end=" ")
print(p.system(), p.machine())') || {{
  echo "install.sh: $PYTHON does not run; name a Python {version} with PYTHON=/path/to/python"; exit 1
}}
if [ "$here" != "{version} {system}" ]; then
  echo "install.sh: this kit is for Python {version} on {system}; $PYTHON is $here"
  exit 1
fi
"$PYTHON" -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --find-links ../wheels \\
  --constraint constraints.txt --editable '.[dev]'
.venv/bin/python -c 'import matplotlib.font_manager'
touch .venv/.ready
echo "Installed. Next: cd course && make lab"
"""


def build(base: Path, out: Path) -> None:
    """Write the kit for the Python that runs this.

    Args:
        base: the course's folder.
        out: folder of the kit; what an earlier kit left there is removed.

    Raises:
        LessonError: the folder holds something else, or a package could not be fetched or built.
    """
    if base in out.resolve().parents and base / "build" not in out.resolve().parents:
        raise LessonError(f"kit: {out} lies in the course itself and would be copied into itself; name another --out.")
    if out.exists():
        if any(out.iterdir()) and not (out / "install.sh").is_file():
            raise LessonError(f"kit: {out} holds something else; name an empty folder with --out.")
        shutil.rmtree(out)
    shutil.copytree(base, out / "course", ignore=shutil.ignore_patterns(*LEFT_OUT))
    fetch(out / "course", out / "wheels")
    script = out / "install.sh"
    version = ".".join(map(str, sys.version_info[:2]))
    system = f"{platform.system()} {platform.machine()}"
    script.write_text(INSTALL.format(version=version, system=system), encoding="utf-8")
    script.chmod(0o755)  # last, so that it also says that the kit is whole


def fetch(course: Path, wheels: Path) -> None:
    """A wheel of each package that the course installs, and of what builds it."""
    needs = [".[dev]", "setuptools>=77"]
    command = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--constraint", "constraints.txt"]
    command += ["--wheel-dir", str(wheels.resolve()), *needs]
    if subprocess.call(command, cwd=course):
        raise LessonError("kit: pip could not fetch or build a package; its last lines above say which.")
    for built in (course / "build", *course.glob("lib/*.egg-info")):
        shutil.rmtree(built, ignore_errors=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=None, help="folder of the kit (default: build/kit)")
    chosen = parser.parse_args(arguments)
    try:
        base = root()
        out = chosen.out or base / "build" / "kit"
        build(base, out)
    except LessonError as error:
        sys.exit(str(error))
    size = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) / 1e9
    print(f"{out}: {size:.1f} GB. Copy the folder, then run install.sh there.")


if __name__ == "__main__":
    main()
