"""What a measurement was taken on."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu() -> str:
    """The processor's name, as /proc tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(x.split(":", 1)[1].strip() for x in lines if x.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
