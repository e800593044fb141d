"""The data tests import their samples and damages from this folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # data_samples.py and data_damage.py
