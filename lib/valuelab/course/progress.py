"""Which exercises are done, kept in one small file in the user's data folder, never in the repository."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path


def file() -> Path:
    """Where progress is kept: $VALUELAB_PROGRESS, or the platform's folder for user data."""
    if os.environ.get("VALUELAB_PROGRESS"):
        return Path(os.environ["VALUELAB_PROGRESS"])
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share"))
    return base / "valuelab" / "progress.json"


def read() -> dict[str, str]:
    """State of each exercise tried so far; a missing or damaged file counts as none."""
    try:
        found = json.loads(file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def record(id: str, state: str) -> None:
    """Note an exercise as done, tried or to do; what is done stays done. A read-only disk is no reason to stop."""
    seen = read()
    if state == "to do" or seen.get(id) in ("done", state):
        return
    seen[id] = state
    target = file()
    if str(target) == os.devnull or (target.exists() and not target.is_file()):
        return  # VALUELAB_PROGRESS=/dev/null switches the record off: never replace a device by a file
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.{os.getpid()}.part")
        part.write_text(json.dumps(seen, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        part.replace(target)
    except OSError:
        pass  # progress is a convenience: a full or read-only disk must not break a lesson


def progress() -> None:
    """Print the exercises done and tried, lesson by lesson."""
    seen = read()
    lessons: dict[str, list[str]] = {}
    for id in sorted(seen, key=lambda x: [int(p) for p in x.split(".") if p.isdigit()]):
        lessons.setdefault(id.split(".")[0].zfill(2), []).append(f"{'✓' if seen[id] == 'done' else '·'} {id}")
    if not lessons:
        print("Nothing done yet: each check(...) is noted here.")
    for lesson, marks in lessons.items():
        print(f"lesson {lesson}: {'  '.join(marks)}")
