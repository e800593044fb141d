"""Fixtures of the data tests: where the real files lie, and made-up ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # data_samples.py and data_damage.py

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real files. In CI its absence is a failure, elsewhere a skip."""
    folder = Path(os.environ.get("VALUELAB_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"the real datasets are not at {folder}; name their folder with VALUELAB_DATA"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder
